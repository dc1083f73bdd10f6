"""Starts a new peak of memory, so that several tasks can be measured in one process."""

import ctypes
import gc
import sys
from pathlib import Path

import torch

from refinenet_pl.evaluation.memory import peak_memory


def reset_peak_memory(device: str) -> int:
    """Free what can be freed, start a new peak where the system can, and return the present peak in bytes."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
            trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): the peak starts again at the present memory
    return peak_memory(device)
