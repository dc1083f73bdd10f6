"""The number of threads: chosen by a measurement, recorded, and used again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from helpers.commands import fit_options, only_run, refinenet

from refinenet_pl.cli.allocator import keep_freed_memory
from refinenet_pl.errors import UserError
from refinenet_pl.files import read_json
from refinenet_pl.runs import RunFolder
from refinenet_pl.training import cpu_precision, threads
from refinenet_pl.training.cpu_precision import bf16_slowdown, warn_of_slow_bf16
from refinenet_pl.training.threads import fastest_threads, measure_threads, use_threads


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({1: 1.0}, 1),
        ({1: 1.0, 2: 0.6}, 2),
        ({1: 1.0, 2: 0.95}, 1),  # not clearly faster
        ({1: 1.0, 2: 6.7}, 1),  # a shared host
        ({1: 1.0, 2: 1.2, 4: 0.5}, 4),
        ({1: 1.0, 2: 0.55, 4: 0.52, 8: 0.9}, 2),
        ({4: 0.3, 2: 0.5, 1: 1.0}, 4),
    ],
)
def test_more_threads_must_be_clearly_faster(seconds: dict[int, float], expected: int) -> None:
    assert fastest_threads(seconds) == expected


@pytest.mark.parametrize(("most", "numbers"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6])])
def test_measurement_changes_nothing(most: int, numbers: list[int]) -> None:
    before, state = torch.get_num_threads(), torch.get_rng_state()
    seconds = measure_threads(most)
    assert [*seconds] == numbers
    assert all(value > 0 for value in seconds.values())
    assert torch.get_num_threads() == before
    assert torch.equal(torch.get_rng_state(), state)


def test_fewer_threads_are_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "measure_threads", lambda most: {1: 0.02, 2: 0.08})
    before = torch.get_num_threads()
    assert use_threads(None) == torch.get_num_threads() == 1
    assert "threads: 1 of 2" in (words := capsys.readouterr().out)
    assert "20 ms and 80 ms" in words
    assert len(words.splitlines()) == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert use_threads(None) == 1  # not measured
    assert capsys.readouterr().out == ""
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("precision", "ratio", "told"),
    [("bf16-mixed", 4.52, True), ("bf16-true", 1.3, True), ("bf16-mixed", 0.4, False), ("32-true", 9.0, False)],
)
def test_slow_bf16_is_told(
    precision: str, ratio: float, told: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cpu_precision, "bf16_slowdown", lambda: ratio)
    warn_of_slow_bf16(precision)
    words = capsys.readouterr().out
    assert words.count("\n") == told
    assert (f"takes {ratio:.1f} times as long as in float32" in words) == told
    assert ("--trainer.precision=32-true is faster" in words) == told


def test_the_ratio_is_that_of_two_times(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    real = F.conv2d

    def slow(image: torch.Tensor, weight: torch.Tensor, padding: int) -> torch.Tensor:
        clock[0] += 3.0 if image.dtype == torch.bfloat16 else 2.0
        return real(image, weight, padding=padding)

    monkeypatch.setattr(cpu_precision.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(cpu_precision.F, "conv2d", slow)
    assert bf16_slowdown() == pytest.approx(1.5)


def test_a_run_of_a_larger_machine(capsys: pytest.CaptureFixture[str]) -> None:
    before = torch.get_num_threads()
    most = threads.usable_cpus()
    assert use_threads(most + 7) == torch.get_num_threads() == most
    assert f"threads: {most} instead of the run's {most + 7}" in capsys.readouterr().out
    torch.set_num_threads(before)
    with pytest.raises(UserError, match="threads is 0; expected 1 or more"):
        use_threads(0)


def test_run_records_and_repeats_its_threads(
    fake_camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "measure_threads", lambda most: {1: 0.1, 2: 0.4})
    assert refinenet(monkeypatch, "fit", *fit_options(fake_camvid, tmp_path / "a"), "--trainer.max_epochs=1") == 0
    run = RunFolder(only_run(tmp_path / "a"))
    assert yaml.safe_load(run.config.read_text())["threads"] == 1
    assert read_json(run.results, "")["threads"] == 1
    monkeypatch.setattr(threads, "measure_threads", lambda most: pytest.fail("the run has a number"))
    longer = ("--trainer.max_epochs=2", "--experiment=longer", f"--runs={tmp_path / 'b'}")
    assert refinenet(monkeypatch, "fit", "--ckpt_path", run.last_checkpoint, *longer) == 0
    assert refinenet(monkeypatch, "fit", "--config", run.config, f"--runs={tmp_path / 'c'}") == 0
    assert refinenet(monkeypatch, "validate", "--ckpt_path", run.last_checkpoint, f"--runs={tmp_path / 'd'}") == 0
    for folder in "bcd":
        assert read_json(RunFolder(only_run(tmp_path / folder)).results, "")["threads"] == 1
    torch.set_num_threads(before)


def test_zero_threads_are_refused(
    fake_camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refinenet(monkeypatch, "fit", *fit_options(fake_camvid, tmp_path), "--threads=0") == 2
    assert "threads is 0; expected 1 or more" in capsys.readouterr().err


PAGES = """
import resource, torch
from refinenet_pl.cli.allocator import keep_freed_memory
keep_freed_memory()
for _ in range(20):  # the memory of these serves the others
    torch.ones(4_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(4_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_freed_memory_is_used_again() -> None:
    def new_pages(**environment: str) -> int:
        values = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
        done = subprocess.run(
            [sys.executable, "-c", PAGES], capture_output=True, text=True, check=True, env=values | environment
        )
        return int(done.stdout)

    assert 20 * new_pages() < new_pages(MALLOC_TRIM_THRESHOLD_="131072", MALLOC_MMAP_THRESHOLD_="131072")
    keep_freed_memory()  # twice in a process does no harm
