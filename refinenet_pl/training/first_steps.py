"""A record of a training's first steps, by which two trainings are compared."""

import hashlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from refinenet_pl.files import write_json
from refinenet_pl.runs import RunFolder

STEPS = 3
"""Number of training batches that are recorded. A difference in the update of the weights shows in the second."""


class FirstSteps(Callback):
    """Writes `first_steps.json` to the trainer's `default_root_dir`, on the main process. A resumed run keeps its own.

    - `weights`: a hash of the initial weights and statistics of each part of the network.
    - `steps`: for each of the first STEPS batches: sample names in order, a hash of each image and mask, norm and hash
      of the activations by layer in forward order, the loss, and norm and hash of the gradients by parameter.

    It draws no random numbers, and removes its hooks after the last recorded batch.

    Args:
        compiled: Whether the parts of the network are compiled. Their activations are not recorded then.
    """

    def __init__(self, compiled: bool = False) -> None:
        self.compiled = compiled
        self.weights: dict[str, str] = {}
        self.steps: list[dict[str, Any]] = []
        self.hooks: list[RemovableHandle] = []
        self.active = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the initial weights."""
        self.active = trainer.is_global_zero and trainer.global_step == 0
        if self.active:
            self.weights = {name: part_hash(module) for name, module in parts(pl_module).items()}

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, *_: Any) -> None:
        """Record the batch, and observe the layers."""
        if not self.active:
            return
        step: dict[str, Any] = {
            "names": list(batch["name"]),
            "images": [tensor_hash(image) for image in batch["image"]],
            "masks": [tensor_hash(mask) for mask in batch["mask"]],
            "activations": {},
        }
        self.steps.append(step)
        if not self.compiled:
            self.hooks = [
                module.register_forward_hook(partial(record_activation, step["activations"], name))
                for name, module in parts(pl_module).items()
            ]

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Record the loss, and stop observing."""
        if self.active:
            self.steps[-1]["loss"] = str(float(loss.detach()))  # as text, because JSON has no NaN
            self._remove_hooks()

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the gradients."""
        if self.active:
            self.steps[-1]["gradients"] = {
                name: summary(value.grad) for name, value in pl_module.named_parameters() if value.grad is not None
            }

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Write the record after its last batch."""
        if self.active and len(self.steps) == STEPS:
            self._write(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the record of a shorter training."""
        if self.active:
            self._write(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Write the record of a training that a fault stops."""
        self._remove_hooks()
        if self.active:
            self._write(trainer)

    def _remove_hooks(self) -> None:
        for hook in self.hooks:
            hook.remove()
        self.hooks = []

    def _write(self, trainer: pl.Trainer) -> None:
        self.active = False
        write_json(
            RunFolder(Path(trainer.default_root_dir)).first_steps, {"weights": self.weights, "steps": self.steps}
        )


def parts(task: pl.LightningModule) -> dict[str, nn.Module]:
    """Return the parts of the network by name: its children, and instead of the encoder the stages of the encoder."""
    found: dict[str, nn.Module] = {}
    for name, child in task.get_submodule("network").named_children():
        stages = dict(child.named_children()) if name.startswith("encoder") else {}
        # An encoder of timm is wrapped: its only child holds the stages.
        while len(stages) == 1:
            ((wrapper, inner),) = stages.items()
            stages = {f"{wrapper}.{stage}": module for stage, module in inner.named_children()}
        found |= {f"{name}.{stage}": module for stage, module in stages.items()} or {name: child}
    return found


def part_hash(module: nn.Module) -> str:
    """Return a hash of all weights and statistics of a module."""
    return digest(tensor_bytes(value) for value in module.state_dict().values())


def record_activation(record: dict[str, Any], name: str, module: nn.Module, inputs: Any, output: Any) -> None:
    """Record the output of a module: tensors, also in lists. A module that runs twice has one record per call."""
    if isinstance(output, list | tuple):
        for index, part in enumerate(output):
            record_activation(record, f"{name}[{index}]", module, inputs, part)
    elif isinstance(output, Tensor):
        calls = sum(key.partition(" ")[0] == name for key in record)
        record[f"{name} (call {calls + 1})" if calls else name] = summary(output)


def summary(values: Tensor) -> dict[str, str]:
    """Return a hash, which shows a difference of one bit, and a norm, which shows how large a difference is."""
    norm = torch.linalg.vector_norm(values.detach(), dtype=torch.float32)
    return {"norm": f"{float(norm):.7g}", "hash": tensor_hash(values)}


def tensor_hash(values: Tensor) -> str:
    """Return a hash of the elements of a tensor."""
    return digest([tensor_bytes(values)])


def tensor_bytes(values: Tensor) -> memoryview:
    """Return the elements as bytes in main memory. Contiguous tensors there are not copied."""
    return values.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data


def digest(blocks: Iterable[memoryview]) -> str:
    """Return 16 hexadecimal digits of SHA-256."""
    found = hashlib.sha256()
    for block in blocks:
        found.update(block)
    return found.hexdigest()[:16]
