"""The SLURM script of docs/clusters.md, submitted to a fake SLURM."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from helpers.commands import fit_options, only_run
from helpers.fake_data import make_voc
from helpers.fake_slurm import descendants, install_fake_slurm

from refinenet_pl.runs import RunFolder

ROOT = Path(__file__).parents[1]
(SCRIPT,) = re.findall(r"```bash\n(#!/bin/bash\n.*?)```", (ROOT / "docs" / "clusters.md").read_text(), flags=re.DOTALL)


def test_script_may_be_requeued():
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", SCRIPT, flags=re.MULTILINE))
    assert options["signal"] == "SIGUSR1@90"  # what a run listens to
    assert {"requeue", "time", "output"} <= options.keys()
    command = shlex.split(SCRIPT.replace("\\\n", " ").splitlines()[-1])
    words = dict(pairwise(command))
    assert (words["--trainer.num_nodes"], words["--trainer.devices"]) == (options["nodes"], options["ntasks-per-node"])
    assert options["gres"] == f"gpu:{options['ntasks-per-node']}"


@pytest.mark.slow
def test_submitted_script_is_requeued_and_continues(tmp_path, monkeypatch):
    """The job is killed as soon as it asks for a new start: by then, it has saved the step."""
    spool = install_fake_slurm(monkeypatch, tmp_path, runs=True)
    project = tmp_path / "project"
    programs = project / ".venv" / "bin"
    programs.mkdir(parents=True)
    (project / "experiments").symlink_to(ROOT / "experiments")
    make_voc(project / "voc", [f"train{index}" for index in range(80)], ["val0", "val1"])
    small = fit_options(project / "voc", project / "runs", "VOCDataModule")
    small += ["--data.train_split=train", "--trainer.max_epochs=2", "--trainer.precision=32-true"]
    small += ["--trainer.num_nodes=1", "--trainer.devices=1", "--trainer.strategy=auto", "--trainer.logger=false"]
    program = programs / "refinenet"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m refinenet_pl "$@" {shlex.join(small)}\n')
    program.chmod(0o755)
    (programs / "activate").write_text("PATH=$PWD/.venv/bin:$PATH\n")
    script = SCRIPT.replace("nodes=2", "nodes=1").replace("ntasks-per-node=8", "ntasks-per-node=1")
    (project / "train.sh").write_text(script)

    subprocess.run(["sbatch", "train.sh"], cwd=project, check=True)
    while not list(project.glob("runs/*/*/first_steps.json")):
        time.sleep(0.1)
        assert not (spool / "1.status").exists()
    run = RunFolder(only_run(project / "runs"))
    assert not run.last_checkpoint.exists()  # the first epoch goes on
    os.kill(descendants(json.loads((spool / "1.json").read_text())["group"])[-1], signal.SIGUSR1)
    while not (spool / "1.status").exists():
        time.sleep(0.1)
    assert (spool / "1.status").read_text() == "0\n"
    assert only_run(project / "runs") == run.path
    assert run.finished
    parts = (run.read_history() or {})["parts"]
    assert [part["job"] for part in parts] == 2 * ["slurm-1"]
    assert 0 < parts[1]["step"] < 40
    assert torch.load(run.last_checkpoint)["global_step"] == 80
