"""Two trainings of a seed, each in a process of its own, give the same figures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import fit_options, only_run, refinenet_process
from helpers.probes import same

from refinenet_pl.runs import RunFolder


def figures(run: RunFolder) -> dict[str, Any]:
    """Everything in results.json but time and configuration."""
    return {key: value for key, value in run.read_results().items() if key not in ("seconds", "config")}


@pytest.mark.parametrize("workers", [0])
def test_second_process_repeats_the_first(workers, trained_run, fake_camvid, tmp_path):
    """`trained_run` reads its samples without worker processes, in the process of the tests."""
    options = [*fit_options(fake_camvid, tmp_path), f"--data.num_workers={workers}"]
    averaged = ["--trainer.callbacks=EMA", "--model.optimizer=AdamW", "--model.optimizer.lr=0.01"]
    done = refinenet_process(tmp_path, "fit", *options, *averaged, "--experiment=fake", "--trainer.max_epochs=2")
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = RunFolder(Path(trained_run)), RunFolder(only_run(tmp_path))
    assert figures(first) == figures(second)
    with np.load(first.per_image) as one, np.load(second.per_image) as other:
        for key in one.files:
            np.testing.assert_array_equal(one[key], other[key])
    states = [torch.load(run.last_checkpoint, weights_only=True)["state_dict"] for run in (first, second)]
    assert same(*states)
    why = refinenet_process(tmp_path, "why", first.path, second.path)
    # The tests may have set other threads or read warnings; the records of the steps must be equal in any case.
    assert "first steps: no difference found in the first 3 steps" in why.stdout
    assert (why.returncode == 0) == (workers == 0), why.stdout
