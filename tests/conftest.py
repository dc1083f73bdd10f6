import os
from pathlib import Path

import pytest

# The tests' tensors are tiny: threads cost them more than they gain, the more so where the cores are busy. Set before
# torch is loaded, and for the processes that the tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def real_data() -> Path:
    """Folder of real datasets, which no checkout has: named by the environment, or the test is skipped."""
    folder = os.environ.get("REFINENET_REAL_DATA")
    if not folder:
        pytest.skip("REFINENET_REAL_DATA names no folder of real data")
    return Path(folder)
