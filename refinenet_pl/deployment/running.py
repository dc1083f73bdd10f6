"""Runs exported files, each with the library of its format."""

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from refinenet_pl.errors import UserError

SUFFIXES = {"torch-export": ".pt2", "onnx": ".onnx", "openvino": ".xml"}
"""The suffix of each format."""
CLASSES = "class_names"
"""Key of the class names, as JSON, in the metadata of a file."""
INSTALL = "pip install 'refinenet-pl[export]'"


class Exported:
    """An exported network.

    Args:
        run: Maps images, uint8 [N, 3, H, W], to logits or classes.
        class_names: One name per class.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], class_names: list[str]) -> None:
        self.run = run
        self.class_names = class_names

    def __call__(self, images: Tensor) -> Tensor:
        """Predict images, uint8 [N, 3, H, W] on the CPU: logits [N, C, H, W] or class indices [N, H, W]."""
        return self.run(images)


def load_exported(path: str | Path, threads: int | None = None) -> Exported:
    """Load a file that `refinenet export` wrote.

    Args:
        path: The file: .onnx, .xml (OpenVINO, with its .bin beside it) or .pt2 (torch.export).
        threads: Threads of ONNX Runtime and OpenVINO. None: the number of torch.

    Raises:
        UserError: The file is missing or has another suffix, or the library of its format is not installed.
    """
    path = Path(path)
    formats = {suffix: name for name, suffix in SUFFIXES.items()}
    if path.suffix not in formats or not path.is_file():
        raise UserError(f"{path}: expected a file that `refinenet export` wrote, with suffix {', '.join(formats)}")
    load = {"torch-export": _torch_export, "onnx": _onnx, "openvino": _openvino}[formats[path.suffix]]
    return load(path, threads or torch.get_num_threads())


def classes_of(output: Tensor) -> Tensor:
    """Return the class of each pixel, uint8 [N, H, W], of an exported network's output, classes or logits."""
    return output if output.dtype == torch.uint8 else output.max(dim=1).indices.to(torch.uint8)


def library(name: str) -> Any:
    """Import a library of an optional extra; raise UserError if it is not installed."""
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(f"this format needs {name.partition('.')[0]} ({error}): {INSTALL}") from error


def _torch_export(path: Path, threads: int) -> Exported:
    extra = {CLASSES: ""}
    module = torch.export.load(path, extra_files=extra).module()
    return Exported(torch.no_grad()(module), json.loads(extra[CLASSES] or "[]"))


def _onnx(path: Path, threads: int) -> Exported:
    runtime = library("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    session = runtime.InferenceSession(path, options, providers=runtime.get_available_providers())
    names = session.get_modelmeta().custom_metadata_map.get(CLASSES, "[]")
    name = session.get_inputs()[0].name
    return Exported(lambda images: torch.from_numpy(session.run(None, {name: images.numpy()})[0]), json.loads(names))


def _openvino(path: Path, threads: int) -> Exported:
    core = library("openvino").Core()
    model = core.read_model(path)
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(model, "CPU", settings)
    names = model.get_rt_info(CLASSES).astype(str) if model.has_rt_info(CLASSES) else "[]"
    return Exported(lambda images: torch.from_numpy(compiled(images.numpy())[0].copy()), json.loads(names))
