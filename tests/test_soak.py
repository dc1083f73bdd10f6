"""Trainings that are killed at random moments end as an uninterrupted one, bit for bit."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_trainings_end_the_same(kills):
    tests = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tests.parent), str(tests)]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "helpers.soak", f"--kills={kills}", *(["--workers=0"] if kills == 3 else [])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = re.search(r"(\d+) kills .* (\d+) resumes, (\d+) starts from zero, 0 differences", done.stdout)
    assert counts is not None
    assert int(counts[1]) == kills == int(counts[2]) + int(counts[3])
