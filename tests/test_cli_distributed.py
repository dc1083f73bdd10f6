"""Two CPU processes give exactly the metrics of one. If one of them cannot go on, the other ends too."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import fit_options, only_run, refinenet, refinenet_process
from helpers.fake_data import make_camvid, make_voc
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn.functional import cross_entropy

from refinenet_pl import load
from refinenet_pl.images import read_image
from refinenet_pl.runs import RunFolder

ARRAYS = ("class_names", "names", "image", "true", "predicted", "pixels")


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    """Images of mixed sizes; the validation split has an odd number, and one image more that is broken."""
    names = list("abcdefgh")
    root = make_voc(tmp_path_factory.mktemp("data") / "voc", train=names[:4], val=names[4:])
    (root / "VOCdevkit/VOC2012/JPEGImages/h.jpg").write_bytes(b"")
    return root


@pytest.fixture(scope="module")
def two_size_camvid(tmp_path_factory):
    """Images of two sizes; the test split has an odd number."""
    root = tmp_path_factory.mktemp("data") / "camvid"
    make_camvid(root, test=5)
    return make_camvid(root, test=2, size=(40, 57))


@pytest.fixture(scope="module")
def two_process_run(voc, tmp_path_factory):
    """The run folder of a fit with two processes. The encoder has a last stage that the network does not use."""
    runs = tmp_path_factory.mktemp("runs")
    encoder = ["--model.network.encoder_name=tu-test_efficientnet.r160_in1k", "--model.network.encoder_depth=4"]
    options = [*fit_options(voc, runs, "VOCDataModule"), *encoder, "--model.network.decoder_channels=[16,16,16]"]
    options.append("--trainer.logger=TensorBoardLogger")
    run_with_two("fit", runs, *options, "--trainer.max_epochs=1", "--data.skip_broken=1")
    return only_run(runs)


@pytest.fixture(scope="module")
def one_process_run(two_size_camvid, tmp_path_factory):
    """The run folder of a fit with one process."""
    runs = tmp_path_factory.mktemp("runs")
    run_with_one("fit", *fit_options(two_size_camvid, runs), "--trainer.max_epochs=1")
    return only_run(runs)


@pytest.fixture(scope="module")
def validated_with_one(two_process_run, tmp_path_factory):
    """The run folder of a validation with one process, of the checkpoint that two processes trained."""
    runs = tmp_path_factory.mktemp("runs")
    run_with_one("validate", "--ckpt_path", RunFolder(two_process_run).last_checkpoint, f"--runs={runs}")
    return only_run(runs)


def run_with_one(command: str, *options: str | Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        assert refinenet(patch, command, *options, "--trainer.devices=1", "--trainer.strategy=auto") == 0


def run_with_two(command: str, folder: Path, *options: str | Path) -> None:
    done = refinenet_process(folder, command, *options, "--trainer.devices=2", "--trainer.strategy=ddp")
    assert done.returncode == 0, done.stderr[-3000:]


def results(run: Path) -> dict:
    return RunFolder(run).read_results()


def assert_same_metrics(first: Path, second: Path) -> None:
    """Compare all but time and configuration."""
    one, other = results(first), results(second)
    for key in ("seconds", "config", "origin"):
        del one[key], other[key]
    assert one == other
    with np.load(RunFolder(first).per_image) as one_file, np.load(RunFolder(second).per_image) as other_file:
        for key in ARRAYS:
            np.testing.assert_array_equal(one_file[key], other_file[key])


def test_final_evaluation_counts_images_once(two_process_run):
    assert results(two_process_run)["images"] == 3
    assert [sample["name"] for sample in results(two_process_run)["skipped"]] == ["h"]
    with np.load(RunFolder(two_process_run).per_image) as file:
        assert file["names"].tolist() == ["e", "f", "g"]


def test_costs_are_the_main_processs(two_process_run):
    costs = RunFolder(two_process_run).read_costs()
    assert costs is not None
    assert costs["steps"] == costs["planned_steps"] == 1
    assert costs["planned_validation_images"] == 2 * 2, "it validates two of three images"


def test_validate_matches_one_process(two_process_run, validated_with_one, tmp_path):
    run_with_two("validate", tmp_path, "--ckpt_path", RunFolder(two_process_run).last_checkpoint, f"--runs={tmp_path}")
    assert results(validated_with_one)["images"] == 3
    assert_same_metrics(validated_with_one, only_run(tmp_path))
    assert_same_metrics(validated_with_one, two_process_run)


def test_test_matches_one_process(one_process_run, tmp_path):
    checkpoint = RunFolder(one_process_run).last_checkpoint
    one, two = tmp_path / "one", tmp_path / "two"
    run_with_one("test", "--ckpt_path", checkpoint, f"--runs={one}")
    run_with_two("test", tmp_path, "--ckpt_path", checkpoint, f"--runs={two}")
    assert (results(only_run(one))["split"], results(only_run(one))["images"]) == ("test", 5)
    assert_same_metrics(only_run(one), only_run(two))


def test_fit_logs_match_one_process(two_process_run, validated_with_one):
    with RunFolder(two_process_run).metrics.open() as file:
        (within_fit,) = [row for row in csv.DictReader(file) if row["val/miou"]]
    found = results(validated_with_one)
    for key in ("miou", "pixel_accuracy", "mean_accuracy"):
        assert float(within_fit[f"val/{key}"]) == pytest.approx(found[key], abs=1e-6)
    for name, iou in found["per_class_iou"].items():
        assert float(within_fit[f"val/iou/{name}"]) == pytest.approx(iou, abs=1e-6), name


def test_fit_logs_loss_and_pictures_of_all_images(two_process_run, voc):
    segmenter, sums = load(two_process_run), torch.zeros(2)
    for name in "efg":
        image = read_image(voc / f"VOCdevkit/VOC2012/JPEGImages/{name}.jpg")
        mask = np.asarray(Image.open(voc / f"VOCdevkit/VOC2012/SegmentationClass/{name}.png"))
        target = torch.from_numpy(mask).long()[None]
        with torch.no_grad():
            logits = segmenter.network(segmenter.normalized(image[None]))
        pixels = int((target != 255).sum())
        sums += torch.tensor([pixels * float(cross_entropy(logits, target, ignore_index=255)), pixels])
    with RunFolder(two_process_run).metrics.open() as file:
        (within_fit,) = [row for row in csv.DictReader(file) if row["val/miou"]]
    assert float(within_fit["val/loss"]) == pytest.approx(float(sums[0] / sums[1]), rel=1e-5)
    events = EventAccumulator(str(RunFolder(two_process_run).tensorboard))
    events.Reload()
    shown = {f"{kind}/{name}" for kind in ("pictures", "predictions") for name in "efg"}
    assert set(events.Tags()["images"]) == {*shown, "final/confusion_matrix"}


def start_endless_fit(data: Path, folder: Path, *options: str) -> tuple[subprocess.Popen[str], int]:
    """Start a fit with two processes; return it and the id of its second process once an epoch is finished."""
    command = [sys.executable, "-m", "refinenet_pl", "fit", *fit_options(data, folder / "runs"), *options]
    endless = ["--trainer.devices=2", "--trainer.max_epochs=100000"]
    process = subprocess.Popen([*command, *endless], cwd=folder, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not list(folder.glob("runs/*/*/checkpoints/last.ckpt")):
        time.sleep(0.2)
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return process, int(child)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_killed_process_ends_the_other(fake_camvid, tmp_path):
    process, child = start_endless_fit(fake_camvid, tmp_path, "--trainer.strategy=ddp")
    os.kill(child, signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    # Lightning may see that the child is gone, and kill the main process, before the connection is found closed.
    assert process.returncode in (1, -signal.SIGKILL)
    if process.returncode == 1:
        assert "refinenet: error: another process of this run failed" in errors
    assert "Traceback" not in errors


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_process_that_stands_still_ends_the_other(fake_camvid, tmp_path):
    patience = ["--trainer.strategy=DDPStrategy", "--trainer.strategy.timeout=0:01:30"]
    process, child = start_endless_fit(fake_camvid, tmp_path, *patience)
    os.kill(child, signal.SIGSTOP)
    try:
        _, errors = process.communicate(timeout=240)
    finally:
        os.kill(child, signal.SIGKILL)
    assert process.returncode == 1
    assert "did not answer in time" in errors


@pytest.mark.parametrize(("train", "val", "images"), [(4, 1, "1 images"), (1, 2, "batch_size=2")])
def test_fewer_images_than_processes(train, val, images, tmp_path):
    root = make_camvid(tmp_path / "camvid", train=train, val=val)
    options = [*fit_options(root, tmp_path / "runs"), "--trainer.devices=2", "--trainer.strategy=ddp"]
    done = refinenet_process(tmp_path, "fit", *options, "--trainer.max_epochs=1")
    assert done.returncode == 2
    assert images in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("runs/*/*/checkpoints/*.ckpt"))
