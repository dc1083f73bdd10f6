"""Two trainings of a seed give the same figures: in processes of their own, and with any number of loader workers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import fit_options, only_run, refinenet, refinenet_process
from helpers.probes import same

from refinenet_pl.differences import differences
from refinenet_pl.runs import RunFolder

OPTIONS = (  # those of `trained_run`
    *("--trainer.callbacks=EMA", "--model.optimizer=AdamW", "--model.optimizer.lr=0.01"),
    *("--experiment=fake", "--trainer.max_epochs=2"),
)


def figures(run: RunFolder) -> dict[str, Any]:
    """Everything in results.json but time and configuration."""
    return {key: value for key, value in run.read_results().items() if key not in ("seconds", "config", "origin")}


def assert_same(first: RunFolder, second: RunFolder) -> None:
    """Compare the results, the matrix of each image, and the weights at the end."""
    assert figures(first) == figures(second)
    with np.load(first.per_image) as one, np.load(second.per_image) as other:
        for key in one.files:
            np.testing.assert_array_equal(one[key], other[key])
    states = [torch.load(run.last_checkpoint, weights_only=True)["state_dict"] for run in (first, second)]
    assert same(*states)


def test_second_process_repeats_the_first(trained_run, fake_camvid, tmp_path):
    """`trained_run` reads its samples without worker processes, in the process of the tests."""
    done = refinenet_process(tmp_path, "fit", *fit_options(fake_camvid, tmp_path), *OPTIONS)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = RunFolder(Path(trained_run)), RunFolder(only_run(tmp_path))
    assert_same(first, second)
    why = refinenet_process(tmp_path, "why", first.path, second.path)
    # The tests may have set other threads or read warnings; the records of the steps must be equal in any case.
    assert "first steps: no difference found in the first 3 steps" in why.stdout
    assert why.returncode == 0, why.stdout


@pytest.mark.parametrize("workers", [1, 4])
def test_loader_workers_do_not_matter(workers, trained_run, fake_camvid, tmp_path, monkeypatch):
    options = [*fit_options(fake_camvid, tmp_path), *OPTIONS, f"--data.num_workers={workers}"]
    assert refinenet(monkeypatch, "fit", *options) == 0
    first, second = RunFolder(Path(trained_run)), RunFolder(only_run(tmp_path))
    assert_same(first, second)
    configs = [run.read_results()["config"] for run in (first, second)]
    assert differences(*configs).keys() == {"data.init_args.num_workers", "runs"}
