"""State dicts from files: read without running code, unwrapped, and compared with what a network expects."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.serialization import safe_globals

from refinenet_pl.errors import UserError

WRAPPERS = ("state_dict", "model", "segmenter", "weights")
"""Keys under which training code keeps the network's weights, beside what else it saves."""
PARALLEL_PREFIX = "module."  # torch's DataParallel puts it before every key

NUMPY_SCALAR = np.float64().__reduce__()[0]
SAFE_GLOBALS: list[Any] = [
    NUMPY_SCALAR,
    (NUMPY_SCALAR, "numpy.core.multiarray.scalar"),  # as numpy 1 wrote it
    np.dtype,
    np.dtypes.Float64DType,
]
"""What it takes to read a numpy number, as the best score that training code keeps beside the weights; runs no code."""


class StateDict(NamedTuple):
    """The tensors of a file by their names, and what they were wrapped in."""

    tensors: dict[str, Tensor]
    wrapping: str


def read_state_dict(path: Path) -> StateDict:
    """Read a state dict from safetensors or a torch file, without running any code that the file may hold.

    Raises:
        UserError: No such file, not a state dict, or a pickle that asks for more than tensors.
    """
    if not path.is_file():
        raise UserError(f"weights: no file {path}")
    try:
        with safe_globals(SAFE_GLOBALS):
            state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise many kinds for a damaged or unsafe file
        raise UserError(f"weights: cannot read {path} safely: {error}") from error
    wrapping = []
    for wrapper in WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
            wrapping.append(f"{{'{wrapper}': ...}}")
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"weights: {path} holds {type(state).__name__}; expected a state dict (names to tensors)")
    if state and all(key.startswith(PARALLEL_PREFIX) for key in state):
        state = {key.removeprefix(PARALLEL_PREFIX): value for key, value in state.items()}
        wrapping.append(f"'{PARALLEL_PREFIX}' before each key")
    return StateDict(state, ", ".join(wrapping) or "none")


def describe_mismatch(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """What keeps a state dict from fitting, a line for each kind with the keys; empty if it fits.

    Counts of batches may be missing: files from before torch 0.4.1 lack them, and inference never reads them.
    """
    lists = {
        "missing": [key for key in expected if key not in found and not key.endswith("num_batches_tracked")],
        "left over": [key for key in found if key not in expected],
        "of another shape": [
            f"{key} is {tuple(found[key].shape)}, expected {tuple(value.shape)}"
            for key, value in expected.items()
            if key in found and found[key].shape != value.shape
        ],
    }
    return "".join(f"\n  {len(keys)} {what}: {_some(keys)}" for what, keys in lists.items() if keys)


def _some(keys: list[str], limit: int = 8) -> str:
    return ", ".join(keys[:limit]) + (f", and {len(keys) - limit} more" if len(keys) > limit else "")
