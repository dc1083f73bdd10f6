"""Tells a mistake of the user from a fault of this package, among the errors of libraries and of the system."""

import dis
import errno
import os
import re
from collections.abc import Iterator
from types import FrameType, TracebackType

from pytorch_lightning import Trainer
from pytorch_lightning.cli import LightningCLI
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import OutOfMemoryError

from refinenet_pl.cli.parser import shorten
from refinenet_pl.errors import Fault, UserError

CHECKING_LIBRARIES = (
    "pytorch_lightning",
    "lightning_fabric",
    "torch.optim",
    "torch.utils.data",
    "torchmetrics",
    "wandb",
    "wandb_workspaces",
)
"""Their `raise` statements refuse what the configuration asks for. Other errors in them may be our fault."""
BUILT_LIBRARIES = (*CHECKING_LIBRARIES, "torch", "torchvision", "timm", "segmentation_models_pytorch", "jsonargparse")
"""Any of their errors is about the configuration, while its classes are built."""
PARSING = ("refinenet_pl.cli", "pytorch_lightning.cli", "jsonargparse")
"""What builds the configuration's classes."""
REFUSALS = (
    ValueError,
    TypeError,
    RuntimeError,
    ImportError,
)  # RuntimeError: and NotImplementedError
PLACES = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP),
    *(errno.ENAMETOOLONG, errno.EFBIG, errno.EIO, errno.ESTALE),
}
"""Errors of the file system that are about the place of a file."""
ADVICE = {
    r"loading state_dict": "the checkpoint does not fit the configured network",
    r"out of memory|can't allocate memory": "out of memory; lower data.batch_size or data.crop_size",
    r"Expected more than 1 value per channel": "batch norm needs more values; raise data.batch_size or data.crop_size",
    r"finished reduction in the prior iteration|not used in producing the loss": (
        "the network has parameters that the loss does not use; add "
        "--trainer.strategy ddp_find_unused_parameters_true, or freeze them"
    ),
    r"Failed to find C(\+\+)? compiler|Cannot find a working triton": (
        "the network cannot be compiled on this machine; add --model.compile false"
    ),
    r"PytorchStreamWriter failed|unexpected pos \d+ vs|No space left on device|file write failed": (
        "a file cannot be written; is the disk full?"
    ),
}
"""Mistakes that libraries report by a message alone: what to look for, and what to tell."""
FAULTS = {
    r"DataLoader worker .*(killed by signal|exited unexpectedly)": (
        "a process that reads samples was killed, probably because memory or shared memory (/dev/shm) ran out; "
        "lower data.num_workers or data.batch_size"
    ),
    r"(?i)connection (was )?(closed|reset|refused|aborted)|socket timeout|timed out|remote process exited|gloo|nccl": (
        "another process of this run failed, was stopped, or did not answer in time; its message, if any, is above"
    ),
}
"""What stops a run without a mistake of the user: what to look for, and what to tell."""


def explain(error: Exception) -> UserError | None:
    """Return what to tell the user about an error; None if it may be a fault of this package."""
    words = str(error)
    if isinstance(error, MisconfigurationException):
        return UserError(words + slurm_advice(words))
    if isinstance(error, OSError):
        return _explain_file_error(error)
    if isinstance(error, OutOfMemoryError):
        return UserError(f"out of GPU memory; lower data.batch_size or data.crop_size ({words})")
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        return UserError(f"the network cannot be compiled on this machine; add --model.compile false ({_brief(words)})")
    if type(error).__module__.startswith("wandb."):
        return UserError(f"W&B: {words}; set WANDB_MODE=offline to train without its server")
    if isinstance(error, (RuntimeError, ValueError)):
        for pattern, told in ADVICE.items():
            if re.search(pattern, words):
                return UserError(f"{told} ({_brief(words)})")
        for pattern, told in FAULTS.items():
            if re.search(pattern, words):
                return Fault(f"{told} ({_brief(words)})")
    frames = list(_frames(error.__traceback__))
    if isinstance(error, REFUSALS) and _is_refusal(frames):
        if "Does not validate against" in words:  # jsonargparse tried several types for one class
            words = shorten(words)
        return UserError(f"{_built_class(frames)}{words}{slurm_advice(words)}")
    return None


def _explain_file_error(error: OSError) -> UserError | None:
    place = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"{place}{error.strerror}; free some space, or choose another disk")
    if error.errno == errno.EMFILE:
        return UserError(f"{place}{error.strerror}; raise the limit with `ulimit -n 65536`, or lower data.num_workers")
    if error.errno in PLACES and place:
        return UserError(f"{place}{error.strerror}; expected a place that this account can read and write")
    return None


def slurm_advice(words: str) -> str:
    """Return what to do about SLURM's variables, if they are set and an error is about them."""
    if "SLURM_NTASKS" not in os.environ or not re.search(r"(?i)slurm|ntasks|devices|num_nodes", words):
        return ""
    return (
        "\nSLURM's variables are set (SLURM_NTASKS, SLURM_JOB_ID, ...). In a job, start one process per device with "
        "srun. If they are left over in an interactive shell, remove them: unset ${!SLURM_@}"
    )


def _frames(traceback: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    """Yield each frame of a traceback, outermost first, and the offset of the instruction that failed."""
    while traceback is not None:
        yield traceback.tb_frame, traceback.tb_lasti
        traceback = traceback.tb_next


def _is_refusal(frames: list[tuple[FrameType, int]]) -> bool:
    """Return whether a library refused what the configuration asks for.

    Either its own `raise` statement checks values, or it fails while the configuration's classes are built.
    """
    frame, instruction = frames[-1]
    module = frame.f_globals.get("__name__", "")
    raised = dis.opname[frame.f_code.co_code[instruction]] == "RAISE_VARARGS"
    building = {LightningCLI.instantiate_classes.__code__, Trainer.__init__.__code__}
    if any(code in building or code.co_name == "configure_optimizers" for code in (each.f_code for each, _ in frames)):
        return _belongs(module, BUILT_LIBRARIES) or raised
    return raised and _belongs(module, CHECKING_LIBRARIES)


def _belongs(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _built_class(frames: list[tuple[FrameType, int]]) -> str:
    """Return the name of the class whose constructor failed, as the start of a message; or nothing."""
    for frame, _ in frames:
        module = frame.f_globals.get("__name__", "")
        if frame.f_code.co_name == "__init__" and not _belongs(module, PARSING):
            return f"{type(frame.f_locals['self']).__name__}: " if "self" in frame.f_locals else ""
    return ""


def _brief(words: str) -> str:
    """The first lines of a long message, and the start of long lines."""
    lines = words.strip().splitlines()[:20]
    return "\n".join(line if len(line) <= 400 else f"{line[:400]}..." for line in lines)
