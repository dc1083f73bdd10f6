"""State dicts: read from files without running code, unwrapped, and compared with a network's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.serialization import safe_globals

from refinenet_pl.errors import UserError
from refinenet_pl.text import join

WRAPPERS = ("state_dict", "model", "segmenter", "weights")
"""Keys under which training code saves the network's weights."""
PARALLEL_PREFIX = "module."  # torch's DataParallel adds it to every key

NUMPY_SCALAR = np.float64().__reduce__()[0]
SAFE_GLOBALS: list[Any] = [
    NUMPY_SCALAR,
    (NUMPY_SCALAR, "numpy.core.multiarray.scalar"),  # as numpy 1 wrote it
    np.dtype,
    np.dtypes.Float64DType,
]
"""Types that training code saves beside the weights: a numpy number, for example the best metric. They run no code."""


class StateDict(NamedTuple):
    """The content of a weight file.

    Attributes:
        tensors: Tensors by name.
        wrapping: Description of the wrappers that were removed; "none" if there were none.
    """

    tensors: dict[str, Tensor]
    wrapping: str


def read_state_dict(path: str | Path) -> StateDict:
    """Read a state dict from a safetensors or torch file. Code in the file is never run.

    Raises:
        UserError: The file is missing or damaged, holds no state dict, or needs more than tensors to be read.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"weights: no file {path}")
    try:
        with safe_globals(SAFE_GLOBALS):
            state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise many kinds of errors for damaged or unsafe files
        # Not torch's message, which advises to run the file's code (weights_only=False).
        raise UserError(
            f"weights: cannot read {path} safely ({type(error).__name__}); expected an undamaged torch or safetensors "
            "file that holds only tensors, numbers and text"
        ) from error
    wrapping = []
    for wrapper in WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
            wrapping.append(f"{{'{wrapper}': ...}}")
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise UserError(f"weights: {path} holds {type(state).__name__}; expected a state dict (names to tensors)")
    if unstored := [key for key, value in state.items() if not _is_stored(value)]:
        raise UserError(
            f"weights: {path} states more values than it holds: {join(unstored, 4)}; expected dense tensors"
        )
    if state and all(key.startswith(PARALLEL_PREFIX) for key in state):
        state = {key.removeprefix(PARALLEL_PREFIX): value for key, value in state.items()}
        wrapping.append(f"'{PARALLEL_PREFIX}' before each key")
    return StateDict(state, ", ".join(wrapping) or "none")


def _is_stored(tensor: Tensor) -> bool:
    """Return whether all values of a tensor are in its file. A few bytes can state a tensor of any size."""
    if tensor.is_meta or tensor.layout != torch.strided:
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def describe_mismatch(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """Describe why a state dict does not fit: one line per kind of mismatch, with its keys. Empty if it fits.

    `num_batches_tracked` may be missing: files from before torch 0.4.1 lack it, and inference never reads it.
    """
    keys_by_kind = {
        "missing": [key for key in expected if key not in found and not key.endswith("num_batches_tracked")],
        "left over": [key for key in found if key not in expected],
        "of another shape": [
            f"{key} is {tuple(found[key].shape)}, expected {tuple(value.shape)}"
            for key, value in expected.items()
            if key in found and found[key].shape != value.shape
        ],
    }
    return "".join(f"\n  {len(keys)} {kind}: {join(keys, 8)}" for kind, keys in keys_by_kind.items() if keys)
