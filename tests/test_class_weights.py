"""Class weights: formulas, real CamVid, and the class-weights command."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.commands import TINY_NETWORK, TINY_TRAINER, only_run, refinenet
from helpers.fake_data import make_camvid, make_cityscapes, make_voc, save_gray, save_image
from PIL import Image

from refinenet_pl.data import CamVidDataModule
from refinenet_pl.data.camvid import CAMVID
from refinenet_pl.data.class_weights import METHODS, PixelCounts, count_classes
from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.data.dataset import Sample, SegmentationDataset
from refinenet_pl.errors import UserError

# Three images: class 0 in all of them, class 1 in two, class 2 in one.
LABELS = [
    np.array([[0, 0, 0, 1, IGNORE_INDEX, IGNORE_INDEX]], np.uint8),
    np.array([[0, 0, 0, 0, 0, 0, 1, 1]], np.uint8),
    np.array([[0, 2, IGNORE_INDEX]], np.uint8),
]


@pytest.fixture
def dataset(tmp_path):
    """The three label images. Their images do not exist, because counting must not read them."""
    for index, labels in enumerate(LABELS):
        save_gray(tmp_path / f"{index}.png", labels)
    samples = [Sample(tmp_path / "none.jpg", tmp_path / f"{index}.png", str(index)) for index in range(len(LABELS))]
    return SegmentationDataset(samples, num_classes=3)


def read(path: Path) -> list[float]:
    loss = yaml.safe_load(path.read_text())["model"]["loss"]
    assert loss["class_path"] == "CrossEntropy"
    return loss["init_args"]["class_weights"]


def test_counts_skip_ignored_pixels(dataset):
    counts = count_classes(dataset, num_classes=3)
    assert counts.pixels.tolist() == [10, 3, 1]
    assert counts.images.tolist() == [3, 2, 1]
    assert counts.pixels_in_images.tolist() == [4 + 8 + 2, 4 + 8, 2]


def test_median_frequency_formula(dataset):
    weights = METHODS["median_frequency"].compute(count_classes(dataset, 3), "abc")
    frequencies = [10 / 14, 3 / 12, 1 / 2]
    np.testing.assert_allclose(weights, [0.5 / frequency for frequency in frequencies], rtol=1e-12)


def test_inverse_log_formula(dataset):
    weights = METHODS["inverse_log"].compute(count_classes(dataset, 3), "abc")
    np.testing.assert_allclose(weights, [1 / math.log(1.02 + pixels / 14) for pixels in (10, 3, 1)], rtol=1e-12)


def test_weights_of_an_absent_class():
    counts = PixelCounts(np.array([6, 0, 4]), np.array([1, 0, 1]), np.array([10, 0, 10]))
    with pytest.raises(UserError, match="no pixel of the training split is wall,"):
        METHODS["median_frequency"].compute(counts, ["ground", "wall", "sky"])
    assert METHODS["inverse_log"].compute(counts, ["ground", "wall", "sky"])[1] == pytest.approx(1 / math.log(1.02))


@pytest.mark.parametrize("method", METHODS)
def test_all_ignored_split_is_refused(method):
    with pytest.raises(UserError, match=r"no pixel of the training split|pixels of the training split are ignored"):
        METHODS[method].compute(PixelCounts(*np.zeros((3, 2), np.int64)), ["a", "b"])


@pytest.mark.parametrize("method", METHODS)
def test_real_camvid_weights_match_numpy(real_data, tmp_path, monkeypatch, method):
    data = ["--data=CamVidDataModule", f"--data.root={real_data / 'camvid'}"]
    output = tmp_path / "weights.yaml"
    assert refinenet(monkeypatch, "class-weights", *data, f"--method={method}", f"--output={output}") == 0
    masks = np.stack([np.array(Image.open(path)) for path in (real_data / "camvid" / "trainannot").glob("*.png")])
    is_class = np.stack([(masks == label).sum((1, 2)) for label in range(11)])  # [class, image]
    if method == "median_frequency":
        of_images = (is_class > 0) @ is_class.sum(0)
        frequency = is_class.sum(1) / of_images
        expected = np.median(frequency) / frequency
    else:
        expected = 1 / np.log(1.02 + is_class.sum(1) / (masks < 11).sum())
    np.testing.assert_allclose(read(output), expected, rtol=1e-5)


def test_real_camvid_is_near_segnet(real_data):
    # From Models/segnet_train.prototxt of alexgkendall/SegNet-Tutorial. No formula reproduces them exactly from the
    # published labels, in which signs are more than twice as frequent.
    published = [0.2595, 0.1826, 4.5640, 0.1417, 0.9051, 0.3826, 9.6446, 1.8418, 0.6823, 6.2478, 7.3614]
    dataset = CamVidDataModule(real_data / "camvid").dataset("train")
    weights = METHODS["median_frequency"].compute(count_classes(dataset, 11), CAMVID.names)
    others = np.arange(11) != CAMVID.names.index("sign")
    np.testing.assert_allclose(weights[others], np.array(published)[others], rtol=0.2)


# The command --------------------------------------------------------------------------------------------------------


@pytest.fixture
def experiment(tmp_path):
    """An experiment on fake CamVid, with a loss and a trainer that class-weights has nothing to do with."""
    root = make_camvid(tmp_path / "camvid", train=2, val=1)
    data = {"root": str(root), "batch_size": 2, "num_workers": 0, "crop_size": [32, 48]}
    loss = {"class_path": "WeightedSum", "init_args": {"losses": [{"class_path": "Dice"}], "weights": [1.0]}}
    content = {
        "model": {"loss": loss},
        "data": {"class_path": "CamVidDataModule", "init_args": data},
        "trainer": {"max_epochs": 1},
    }
    path = tmp_path / "my_experiment.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def first_loss(runs: Path) -> float:
    with (only_run(runs) / "metrics.csv").open() as file:
        return float(next(row["train/loss"] for row in csv.DictReader(file) if row["train/loss"]))


def test_fit_takes_the_weights(experiment, tmp_path, monkeypatch, capsys):
    output = tmp_path / "deep" / "weights.yaml"
    assert refinenet(monkeypatch, "class-weights", "--config", experiment, "--output", output) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert METHODS["median_frequency"].formula in printed
    assert "median_frequency on the 2 training images of CamVidDataModule" in printed
    assert all(name in printed for name in CAMVID.names)
    assert METHODS["median_frequency"].formula in output.read_text()
    assert "2 training images" in output.read_text()

    options = [*TINY_NETWORK, *TINY_TRAINER, "--config", str(experiment)]
    weighted = [*options, "--config", str(output), f"--runs={tmp_path / 'weighted'}"]
    assert refinenet(monkeypatch, "fit", *weighted) == 0
    run = only_run(tmp_path / "weighted")
    assert run.parent.name == "my_experiment_weights"
    loss = yaml.safe_load((run / "config.yaml").read_text())["model"]["loss"]
    assert loss["class_path"].endswith(".CrossEntropy")
    assert loss["init_args"]["class_weights"] == read(output)

    plain = ["--model.loss=CrossEntropy", f"--runs={tmp_path / 'plain'}"]
    assert refinenet(monkeypatch, "fit", *options, *plain) == 0
    assert first_loss(tmp_path / "weighted") != pytest.approx(first_loss(tmp_path / "plain"), rel=1e-5)


def test_options_override_config(experiment, tmp_path, monkeypatch, capsys):
    other = make_camvid(tmp_path / "other", train=3)
    options = [f"--config={experiment}", f"--data.root={other}", "--output", tmp_path / "weights.yaml"]
    assert refinenet(monkeypatch, "class-weights", *options) == 0
    assert "on the 3 training images" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", ["cityscapes", "voc"])
def test_label_ids_are_mapped(name, tmp_path, monkeypatch):
    if name == "cityscapes":
        root, data, classes = make_cityscapes(tmp_path / name, size=(64, 128)), "CityscapesDataModule", 19
    else:
        root, data, classes = make_voc(tmp_path / name, train=list("abcdef"), val=["g"]), "VOCDataModule", 21
    output = tmp_path / "weights.yaml"
    assert refinenet(monkeypatch, "class-weights", f"--data={data}", f"--data.root={root}", "--output", output) == 0
    weights = read(output)
    assert len(weights) == classes
    assert np.median(weights) == pytest.approx(1, abs=1e-6)


def test_absent_class_writes_nothing(experiment, tmp_path, monkeypatch, capsys):
    for path in (tmp_path / "camvid" / "trainannot").iterdir():
        labels = np.array(Image.open(path))
        labels[labels == CAMVID.names.index("fence")] = 0
        save_gray(path, labels)
    output = tmp_path / "weights.yaml"
    assert refinenet(monkeypatch, "class-weights", "--config", experiment, "--output", output) == 2
    assert "no pixel of the training split is fence," in capsys.readouterr().err
    assert not output.exists()


def test_color_labels_are_refused(experiment, tmp_path, monkeypatch, capsys):
    path = tmp_path / "camvid" / "trainannot" / "train_1.png"
    save_image(path, np.zeros((48, 64), np.uint8))
    assert refinenet(monkeypatch, "class-weights", "--config", experiment) == 2
    assert f"{path}: labels must be" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"), [(None, "does not exist"), ("model: [", "cannot read"), ("model: {}", "no value for data")]
)
def test_config_without_data_is_refused(content, message, tmp_path, monkeypatch, capsys):
    path = tmp_path / "experiment.yaml"
    if content is not None:
        path.write_text(content)
    assert refinenet(monkeypatch, "class-weights", "--config", path) == 2
    assert message in capsys.readouterr().err
