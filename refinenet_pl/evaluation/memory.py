"""Peak memory of this process."""

import sys
from pathlib import Path

import torch


def peak_memory(device: str) -> int:
    """Return the peak memory in bytes: of tensors on a GPU ("cuda..."), else of the whole process."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.is_file():  # Linux, where getrusage can return the peak of the parent process
        return 1024 * next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    import resource  # here, because Windows lacks it

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
