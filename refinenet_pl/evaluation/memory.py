"""How much memory this process has taken."""

import resource
import sys
from pathlib import Path

import torch


def peak_memory(device: str) -> int:
    """The most bytes that were ever in use: of the GPU by tensors, or of the process."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.is_file():  # Linux, where getrusage would also tell of the process that started this one
        return 1024 * next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
