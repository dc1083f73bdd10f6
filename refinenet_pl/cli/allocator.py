"""Lets the C library keep freed memory, so that large tensors do not get new pages from the system at every step."""

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # in glibc's malloc.h
LARGEST = 2**31 - 1  # mallopt takes an int


def keep_freed_memory() -> None:
    """Keep freed memory in this process and in those that it starts by forking.

    By default, glibc returns large blocks to the system when they are freed. The next allocation then gets new pages,
    which the system fills with zeros: on a CPU, a quarter of a training step. The memory that a process holds is then
    its peak. The variables MALLOC_TRIM_THRESHOLD_ and MALLOC_MMAP_THRESHOLD_ take precedence, if one is set. Other C
    libraries than glibc are left as they are.
    """
    if sys.platform != "linux" or {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & os.environ.keys():
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, LARGEST)
        mallopt(M_MMAP_THRESHOLD, LARGEST)
