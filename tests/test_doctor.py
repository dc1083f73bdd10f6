"""`refinenet doctor` on this machine, with faults that are made here."""

import os
import re
import shutil
import stat
from importlib.metadata import version

import pytest
import torch
from helpers.commands import refinenet
from huggingface_hub import constants

from refinenet_pl.cli import doctor


@pytest.fixture(autouse=True)
def quick_and_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SECONDS", 0.1)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # the port of a service that nobody runs
    monkeypatch.setenv("WANDB_MODE", "offline")


def test_sections_tell_what_is_here(tmp_path, monkeypatch, capsys):
    assert refinenet(monkeypatch, "doctor", "--runs", tmp_path / "runs") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"torch {torch.__version__.partition('+')[0]}" in printed
    assert f"{len(os.sched_getaffinity(0))} CPUs ({torch.backends.cpu.get_cpu_capability()})" in printed
    assert re.search(r"training: [\d.]+ images/s, Light-Weight RefineNet with MobileNet-v2, 4 x 256 x 256", printed)
    assert re.search(r"threads: 1: \d+ ms", printed)
    assert f"W&B: wandb {version('wandb')}, offline" in printed
    assert "hub: http://127.0.0.1:9 does not answer; cache: " in printed
    free = shutil.disk_usage(tmp_path).free / 2**30
    assert abs(float(re.findall(r"disk: ([\d.]+) GB free", printed)[0]) - free) < 1
    assert "wrong: nothing advice:" in printed
    assert "need a file: --model.network.encoder_weights FILE" in printed
    assert not (tmp_path / "runs").exists()


def test_gpu_that_pytorch_cannot_use_is_wrong(tmp_path, monkeypatch, capsys):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(doctor, "throughput", lambda: doctor.Section("left out"))
    assert refinenet(monkeypatch, "doctor", "--runs", tmp_path) == 1
    assert re.search(r"wrong: +nvidia-smi is here, but PyTorch finds no GPU; PyTorch is", capsys.readouterr().out)


def test_package_that_does_not_fit_is_wrong(monkeypatch):
    needed = ["torch>=999", "no-such-package>=1", 'h5py>=999; extra == "nyudv2"', "numpy>=1"]
    monkeypatch.setattr(doctor, "requires", lambda _: needed)
    assert [*doctor.unsuitable_packages()] == [
        f"torch: found {version('torch')}, expected >=999; pip install 'torch>=999'",
        "no-such-package: found no version, expected >=1; pip install 'no-such-package>=1'",
    ]


def test_installed_packages_fit():
    assert [*doctor.unsuitable_packages()] == []


def test_place_of_runs_that_is_full_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "LEAST_DISK", 2**60)
    free = shutil.disk_usage(tmp_path).free / 2**30
    (line,) = doctor.disk(tmp_path / "new" / "runs").advice
    assert line.startswith(f"{tmp_path} has ")
    assert abs(float(re.findall(r"has ([\d.]+) GB free", line)[0]) - free) < 1
