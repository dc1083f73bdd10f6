"""The state of the random number generators, in checkpoints."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import distributed


class RandomState(Callback):
    """Saves the generators of every process in checkpoints, and restores them when a resumed training starts.

    Dropout draws from them. Augmentation does not need them: it depends on seed, epoch and sample.
    """

    def __init__(self) -> None:
        self.loaded: list[dict[str, Any]] = []

    def state_dict(self) -> dict[str, Any]:
        """Return the state of every process, by rank. Every process must call it, as it does to save a checkpoint."""
        return {"ranks": gather(generator_states())}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the states until training starts; what happens before draws random numbers as well."""
        self.loaded = state_dict["ranks"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the state of this process. A process that is new in a resumed run keeps its own."""
        if trainer.global_rank < len(self.loaded):
            set_generator_states(self.loaded[trainer.global_rank])
        self.loaded = []


def generator_states() -> dict[str, Any]:
    """Return the states of the generators of torch, NumPy, Python and the current GPU.

    They are tensors, numbers and text, which `torch.load` reads without running code.
    """
    name, keys, position, has_gauss, gauss = np.random.get_state()
    states: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        # The keys are uint32, which not every operation of torch has.
        "numpy": [name, torch.from_numpy(np.asarray(keys, np.int64)), position, has_gauss, gauss],
        "python": random.getstate(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def set_generator_states(states: Mapping[str, Any]) -> None:
    """Restore what `generator_states` returned. The GPU's is left out if it was saved without, or there is none."""
    torch.set_rng_state(states["torch"].cpu())
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"].cpu())


def gather(state: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the state of every process, by rank."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return [state]
    states: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(states, state)
    return states
