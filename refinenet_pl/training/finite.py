"""Stops a training whose loss or gradient is NaN or infinite, before the optimizer uses it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, distributed, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from refinenet_pl.errors import Fault
from refinenet_pl.runs import RunFolder
from refinenet_pl.text import join
from refinenet_pl.training.random_state import generator_states
from refinenet_pl.training.replay import Batch, batch_on_cpu, write_replay

MAX_SKIPPED_STEPS = 20
"""In float16, the gradient scaler skips a step with an infinite gradient and halves its scale, which is normal. The
scale starts at 2**16: gradients that still overflow after this many halvings are too large without any scale."""


class StopOnNonFinite(Callback):
    """Stops the training with a `Fault` before a loss or gradient that is not finite changes the weights.

    The check is one norm over the gradients and one read of a single number per optimizer step. On a GPU the read waits
    for the backward pass, as the progress bar and the gradient scaler do; only the launch of the optimizer's kernels is
    no longer hidden behind it. Nothing else would keep the weights whole: a check one step late finds them changed.
    The norm, which is that before gradients are clipped, is logged as `grad_norm`.

    All ranks of a distributed training stop at the same step without further communication, because their gradients
    were averaged: one that is not finite on any rank is not finite on all.

    Args:
        config: Configuration of the run. The replay file includes it. None: no replay file is written.
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        self.config = config
        self.skipped_steps = 0
        self._start_step()

    def _start_step(self) -> None:
        """Forget the last optimizer step. A step has several batches if gradients are accumulated."""
        self.batches: list[dict[str, Any]] = []
        self.random_states: list[dict[str, Any]] = []
        self.losses: list[Tensor] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget batches that no optimizer step followed."""
        self._start_step()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, *_: Any) -> None:
        """Keep what is needed to run the step again."""
        if not self.batches:
            # The forward pass changes the statistics of batch norm. One copy of them all needs one GPU kernel.
            parts = [part.flatten() for part in statistics(pl_module)]
            self.statistics = torch.cat([torch.empty(0, device=pl_module.device), *parts])
        self.batches.append(batch)
        self.random_states.append(generator_states())

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Keep the loss. It may be scaled, which does not change whether it is finite."""
        self.losses.append(loss.detach())

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Check losses and gradients.

        Raises:
            Fault: One of them is not finite.
        """
        gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
        # A NaN or infinite element makes the norm so. Huge finite elements can do that too: those are checked below.
        norm = get_total_norm(gradients)
        if not sum(self.losses, norm).isfinite():
            self._check(trainer, pl_module, optimizer)
        else:
            self.skipped_steps = 0
            pl_module.log("grad_norm", norm)
        self._start_step()

    def _check(self, trainer: pl.Trainer, task: pl.LightningModule, optimizer: Optimizer) -> None:
        """Stop if a loss or an element of a gradient is not finite."""
        losses = [loss for loss in self.losses if not loss.isfinite()]
        gradients = non_finite((name, value.grad) for name, value in task.named_parameters() if value.grad is not None)
        if not losses and not gradients:
            return
        if not losses and getattr(trainer.precision_plugin, "scaler", None) is not None:
            self.skipped_steps += 1
            if self.skipped_steps < MAX_SKIPPED_STEPS:
                return
        self._stop(trainer, task, optimizer, losses, gradients)

    def _stop(
        self,
        trainer: pl.Trainer,
        task: pl.LightningModule,
        optimizer: Optimizer,
        losses: list[Tensor],
        gradients: list[str],
    ) -> NoReturn:
        start = 0
        for part in statistics(task):  # so that no callback saves those of this step
            part.copy_(self.statistics[start : start + part.numel()].view_as(part))
            start += part.numel()
        found: dict[str, Any] = {
            "folder": trainer.default_root_dir,
            "batches": [batch_on_cpu(batch) for batch in self.batches],
            "random_states": self.random_states,
            "losses": [float(loss) for loss in losses],
        }
        # A loss of this rank alone, with finite gradients everywhere, is the one case that other ranks do not see.
        ranks = gather(found) if gradients else [found]
        batches: list[Batch] = [batch for rank in ranks for batch in rank["batches"]]
        run = RunFolder(Path(ranks[0]["folder"]))  # only the main process knows the folder that exists
        finding = describe(task, [loss for rank in ranks for loss in rank["losses"]], gradients, self.skipped_steps)
        names = join((name for batch in batches for name in batch["name"]), 32)
        lines = [f"{place(trainer)}: {finding}", f"samples: {names}", learning_rates(optimizer), last_good(run)]
        if self.config is not None and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            if trainer.is_global_zero or len(ranks) == 1:
                states = [state for rank in ranks for state in rank["random_states"]]
                write_replay(run.replay, trainer, task, batches, states, self.config, lines[0])
            lines.append(f"to run this step again and see where it fails: refinenet replay {run.replay}")
        if len(ranks) > 1 and not trainer.is_global_zero:
            # The main process tells the message for all. It is killed if another process ends with another status.
            raise SystemExit(0)
        raise Fault("\n  ".join(lines))

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Check what is saved: an update can overflow although its gradient was finite.

        Raises:
            Fault: A weight or a statistic is not finite.
        """
        if names := non_finite(checkpoint["state_dict"].items()):
            raise Fault(
                "\n  ".join(
                    [
                        f"{place(trainer)}: not finite after the last update: {join(names, 3)} ({len(names)} of "
                        f"{len(checkpoint['state_dict'])} tensors); no checkpoint was written",
                        learning_rates(trainer.optimizers[0]),
                        last_good(RunFolder(Path(trainer.default_root_dir))),
                    ]
                )
            )


def statistics(module: nn.Module) -> list[Tensor]:
    """Return the buffers that hold fractional numbers, such as mean and variance of batch norm."""
    return [buffer for buffer in module.buffers() if buffer.is_floating_point()]


def non_finite(tensors: Any) -> list[str]:
    """Return the names of the tensors that hold NaN or infinite elements.

    Args:
        tensors: Pairs of name and tensor.
    """
    named = [(name, tensor) for name, tensor in tensors if tensor.is_floating_point()]
    if not named or get_total_norm([tensor for _, tensor in named]).isfinite():
        return []
    return [name for name, tensor in named if not tensor.isfinite().all()]


def gather(value: Any) -> list[Any]:
    """Return the values of all processes. Every process must call it."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def describe(task: pl.LightningModule, losses: list[float], gradients: list[str], skipped_steps: int) -> str:
    """Say what is not finite: the loss, or the gradients of the first few parameters."""
    trained = sum(parameter.grad is not None for parameter in task.parameters())
    what = (
        f"the loss is {losses[0]}" if losses else f"the loss is finite, but the gradient is not: {join(gradients, 3)}"
    )
    if gradients:
        what += f" ({len(gradients)} of {trained} gradients are not finite)"
    if skipped_steps >= MAX_SKIPPED_STEPS:
        what += f"; float16 overflowed in {skipped_steps} steps in a row, use bf16-mixed or 32-true"
    if weights := non_finite(task.named_parameters()):
        what += f"; the update before made weights infinite or NaN: {join(weights, 3)}"
    return what


def place(trainer: pl.Trainer) -> str:
    """Say when the training stopped."""
    return f"training stopped at step {trainer.global_step} (epoch {trainer.current_epoch})"


def learning_rates(optimizer: Optimizer) -> str:
    """Return the learning rate of each part of the network."""
    rates = {group.get("name", "all"): group["lr"] for group in optimizer.param_groups}
    return "learning rate: " + join(f"{rate:.4g} ({name})" for name, rate in rates.items())


def last_good(run: RunFolder) -> str:
    """Name the newest checkpoint of the run. No checkpoint holds a NaN, so that it is good."""
    files = sorted(run.checkpoints.glob("*.ckpt"), key=lambda file: file.stat().st_mtime)
    return f"last good checkpoint: {files[-1]}" if files else "last good checkpoint: none was saved yet"
