"""A kill, a full disk or a cut file never costs more than the newest checkpoint."""

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from helpers.commands import fit_options, only_run, refinenet

from refinenet_pl.errors import UserError
from refinenet_pl.runs import RunFolder
from refinenet_pl.studies.folders import CellFolder
from refinenet_pl.training import checkpoint_files
from refinenet_pl.training.checkpoint_files import CheckpointFiles
from refinenet_pl.weights.checkpoint import read_checkpoint

SMALL, LARGE = {"weights": torch.arange(4)}, {"weights": torch.zeros(500_000)}


def read(path: Path) -> torch.Tensor:
    return torch.load(path, weights_only=True)["weights"]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Limit the size of files that this process writes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip("needs the right to mount a file system")
    yield disk
    subprocess.run(["umount", disk], check=True)


def assert_old_one_is_kept(folder: Path, words: str) -> None:
    with pytest.raises(UserError, match=f"last.ckpt: {words}.*is kept.*it needs about 2 MB"):
        CheckpointFiles().save_checkpoint(LARGE, folder / "last.ckpt")
    assert [path.name for path in folder.iterdir()] == ["last.ckpt"]
    assert read(folder / "last.ckpt").tolist() == [0, 1, 2, 3]


def test_full_disk_keeps_the_old_one(small_disk):
    CheckpointFiles().save_checkpoint(SMALL, small_disk / "last.ckpt")
    assert_old_one_is_kept(small_disk, "No space left on device")


def test_limited_file_size_keeps_the_old_one(tmp_path):
    CheckpointFiles().save_checkpoint(SMALL, tmp_path / "last.ckpt")
    with largest_file(100_000):
        assert_old_one_is_kept(tmp_path, "File too large")


def test_unreadable_copy_keeps_the_old_one(tmp_path, monkeypatch):
    CheckpointFiles().save_checkpoint(SMALL, tmp_path / "last.ckpt")

    def write_other_bytes(checkpoint, path):
        torch.save(checkpoint, path)
        content = path.read_bytes()
        path.write_bytes(content.replace(b"\0" * 1000, b"\1" * 1000, 1))

    monkeypatch.setattr(checkpoint_files, "write", write_other_bytes)
    assert_old_one_is_kept(tmp_path, "reading it back found an error")


def test_first_checkpoint_needs_no_other(tmp_path):
    with largest_file(100_000), pytest.raises(UserError, match="cannot write") as error:
        CheckpointFiles().save_checkpoint(LARGE, tmp_path / "deep" / "last.ckpt")
    assert "is kept" not in str(error.value)
    assert list((tmp_path / "deep").iterdir()) == []


@pytest.mark.parametrize("rest", [0, 1000, -1])
def test_cut_checkpoint_is_named(rest, tmp_path):
    for name in ("best", "last"):
        CheckpointFiles().save_checkpoint(LARGE, tmp_path / f"{name}.ckpt")
    whole = (tmp_path / "last.ckpt").read_bytes()
    (tmp_path / "last.ckpt").write_bytes(whole[:rest])
    for function in (CheckpointFiles().load_checkpoint, read_checkpoint):
        with pytest.raises(UserError, match=r"last.ckpt: the checkpoint was cut short.*whole one.*best.ckpt"):
            function(tmp_path / "last.ckpt")
    (tmp_path / "best.ckpt").unlink()
    with pytest.raises(UserError, match="no other one"):
        CheckpointFiles().load_checkpoint(tmp_path / "last.ckpt")


def test_cell_goes_on_from_the_best(tmp_path):
    run = RunFolder(tmp_path / "20260101-000000-abcd")
    folder = CellFolder(tmp_path)
    for file in (run.best_checkpoint, run.last_checkpoint):
        CheckpointFiles().save_checkpoint(SMALL, file)
    run.config.write_text("{}")
    assert folder.resumable == run.last_checkpoint
    run.last_checkpoint.write_bytes(run.last_checkpoint.read_bytes()[:-1])
    assert folder.resumable == run.best_checkpoint
    run.best_checkpoint.write_bytes(b"")
    assert folder.resumable is None


def test_disk_full_in_a_training(fake_camvid, tmp_path, monkeypatch, capsys):
    options = [*fit_options(fake_camvid, tmp_path), "--trainer.max_epochs=1"]
    with largest_file(600_000):
        assert refinenet(monkeypatch, "fit", *options) == 2
    assert "File too large" in capsys.readouterr().err.splitlines()[-1]
    assert list(RunFolder(only_run(tmp_path)).checkpoints.iterdir()) == []


def test_resumed_run_removes_half_a_checkpoint(fake_camvid, tmp_path, monkeypatch):
    options = [*fit_options(fake_camvid, tmp_path), "--trainer.max_epochs=1"]
    assert refinenet(monkeypatch, "fit", *options) == 0
    run = RunFolder(only_run(tmp_path))
    run.results.unlink()  # else nothing is left to do
    half = run.checkpoints / ".last.ckpt.machine-1.tmp"
    half.write_bytes(b"half")
    assert refinenet(monkeypatch, "fit", "--ckpt_path", run.last_checkpoint) == 0
    assert {path.name for path in run.checkpoints.iterdir()} == {"best.ckpt", "last.ckpt"}


def test_temporary_folder_does_not_matter(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    CheckpointFiles().save_checkpoint(SMALL, tmp_path / "run" / "last.ckpt")
    assert read(tmp_path / "run" / "last.ckpt").tolist() == [0, 1, 2, 3]
