"""Writes a trained network as a file of another format, and checks that it computes the same."""

import json
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from refinenet_pl.deployment.network import DeployableNetwork
from refinenet_pl.deployment.running import CLASSES, Exported, library, load_exported
from refinenet_pl.errors import Fault
from refinenet_pl.files import atomic_write

Format = Literal["torch-export", "onnx", "openvino"]
TOLERANCE = 1e-4
"""Largest difference of logits, relative to the largest logit."""
TRACED = (2, 3, 96, 128)
CHECKED = ((1, 3, 61, 83), (2, 3, 96, 128), (1, 3, 160, 96))
"""Sizes of images, [N, 3, H, W]: the network is traced with one of them, and compared at several."""


def write(network: DeployableNetwork, class_names: Sequence[str], path: Path, form: Format) -> float:
    """Export a network with any batch size, height and width, and compare the file with the network.

    Args:
        network: The network, in evaluation mode on the CPU.
        class_names: One name per class; stored in the file.
        path: The file to write. OpenVINO also writes a .bin beside it.
        form: The format.

    Returns:
        The largest difference of logits, relative to the largest logit; or the share of pixels whose class differs.

    Raises:
        Fault: The file computes something else.
        UserError: The library of the format is not installed.
    """
    names = json.dumps(list(class_names))
    {"torch-export": _write_torch_export, "onnx": _write_onnx, "openvino": _write_openvino}[form](network, names, path)
    difference = compare(network, load_exported(path))
    if difference > TOLERANCE:
        raise Fault(f"{path}: differs from the network by {difference:.2g}; expected at most {TOLERANCE:g}")
    return difference


def compare(network: DeployableNetwork, exported: Exported) -> float:
    """Return by how much a file differs from its network, as `write` does."""
    generator = torch.Generator().manual_seed(0)
    differences = []
    for shape in CHECKED:
        images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
        with torch.no_grad():
            expected = network(images)
        differences.append(_difference(expected, exported(images)))
    return max(differences)


def _difference(expected: Tensor, found: Tensor) -> float:
    if expected.dtype == torch.uint8:
        return float((expected != found).float().mean())
    return float((expected - found).abs().max() / expected.abs().max())


def _program(network: DeployableNetwork) -> torch.export.ExportedProgram:
    dynamic = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    images = torch.zeros(TRACED, dtype=torch.uint8)
    with torch.no_grad():
        return torch.export.export(network, (images,), dynamic_shapes={"images": dynamic})


def _write_torch_export(network: DeployableNetwork, names: str, path: Path) -> None:
    program = _program(network)
    with atomic_write(path) as temporary, temporary.open("wb") as file, warnings.catch_warnings():
        # Of weights in the channels-last layout, each of which has its own storage.
        warnings.filterwarnings("ignore", message="No complete tensor found")
        torch.export.save(program, file, extra_files={CLASSES: names})


def _write_onnx(network: DeployableNetwork, names: str, path: Path) -> None:
    onnx = library("onnx")
    library("onnxscript")
    output = "classes" if network.argmax else "logits"
    program = torch.onnx.export(
        _program(network), dynamo=True, input_names=["images"], output_names=[output], verbose=False
    )
    assert program is not None
    model = program.model_proto
    model.metadata_props.add(key=CLASSES, value=names)
    onnx.checker.check_model(model, full_check=True)
    with atomic_write(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


def _write_openvino(network: DeployableNetwork, names: str, path: Path) -> None:
    openvino = library("openvino")
    with tempfile.TemporaryDirectory() as folder:  # its reader of torch.export lacks operations
        intermediate = Path(folder) / "model.onnx"
        _write_onnx(network, names, intermediate)
        model = openvino.convert_model(intermediate)
    model.set_rt_info(names, CLASSES)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:  # OpenVINO only writes names that end with .xml
        written = Path(folder) / "model.xml"
        openvino.serialize(model, written)
        written.with_suffix(".bin").replace(path.with_suffix(".bin"))
        written.replace(path)
