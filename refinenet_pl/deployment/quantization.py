"""INT8 weights and activations for ONNX files, with ranges that are measured on images."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from refinenet_pl.archive_paths import AnyPath
from refinenet_pl.deployment.network import DeployableNetwork
from refinenet_pl.deployment.running import classes_of, library, load_exported
from refinenet_pl.deployment.writing import write
from refinenet_pl.files import atomic_write
from refinenet_pl.images import read_image
from refinenet_pl.progress import track

QUANTIZED = ["Conv", "Add", "Clip", "Relu", "MaxPool", "Resize"]
"""Operations of ONNX that compute in INT8. Normalization and argmax stay as they are."""


class CalibrationImages:
    """Hands images to onnxruntime's calibration, which calls `get_next` until it returns None.

    Args:
        images: Images, uint8 [3, H, W].
    """

    def __init__(self, images: Iterator[Tensor]) -> None:
        self.images = images

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the input of the network for the next image."""
        image = next(self.images, None)
        return None if image is None else {"images": image[None].numpy()}


def write_int8(network: DeployableNetwork, class_names: Sequence[str], path: Path, files: Sequence[AnyPath]) -> float:
    """Export a network to an ONNX file that computes in INT8.

    The file without quantization is compared with the network first, as by `write`. The ranges of the activations are
    then those on the images; weights have one scale per output channel.

    Args:
        network: The network, in evaluation mode on the CPU.
        class_names: One name per class; stored in the file.
        path: The file to write.
        files: Images like those that the network will see.

    Returns:
        The share of the images' pixels whose class differs from the network's.

    Raises:
        UserError: An image cannot be read, or a library of the format is not installed.
    """
    quantization, shapes = (library(f"onnxruntime.quantization{name}") for name in ("", ".shape_inference"))
    with tempfile.TemporaryDirectory() as folder:
        exact, prepared = Path(folder) / "exact.onnx", Path(folder) / "prepared.onnx"
        write(network, class_names, exact, "onnx")
        shapes.quant_pre_process(exact, prepared, skip_symbolic_shape=True)
        with atomic_write(path) as temporary, track(files, "measuring ranges") as tracked:
            images = (read_image(file, upright=True) for file in tracked)
            quantization.quantize_static(
                prepared,
                temporary,
                CalibrationImages(images),
                op_types_to_quantize=QUANTIZED,
                per_channel=True,
                # Seven bits of weights: CPUs without VNNI add two products in 16 bits, which overflow with eight.
                reduce_range=True,
                # Unsigned activations with signed weights: x86 CPUs multiply them in one instruction.
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
            )
    return _difference(network, path, files)


@torch.no_grad()
def _difference(network: DeployableNetwork, path: Path, files: Sequence[AnyPath]) -> float:
    exported, differing, pixels = load_exported(path), 0, 0
    with track(files, "comparing classes") as tracked:
        for file in tracked:
            image = read_image(file, upright=True)[None]
            differing += int((classes_of(network(image)) != classes_of(exported(image))).sum())
            pixels += image[0, 0].numel()
    return differing / pixels
