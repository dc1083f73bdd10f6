"""`compare`: metrics against numpy, the printed table, and runs that cannot be compared."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import refinenet

from refinenet_pl.evaluation.comparison import compare, describe, difference, excludes_zero, score
from refinenet_pl.evaluation.per_image import ImageMatrices

NAMES = ("road", "car", "train")
COUNT = 30


def random_matrices(seed: int, quality: float) -> np.ndarray:
    """Matrices [COUNT, 3, 3] with 1000 target pixels of road and of car per image, and no train."""
    rng = np.random.default_rng(seed)
    matrices = np.zeros((COUNT, 3, 3), np.int64)
    for index in (0, 1):
        correct = (1000 * np.clip(quality - 0.2 * index + rng.normal(0, 0.1, COUNT), 0, 1)).astype(int)
        matrices[:, index, index] = correct
        matrices[:, index, 1 - index] = 1000 - correct
    return matrices


def to_images(matrices: np.ndarray, class_names: Sequence[str] = NAMES, first: int = 0) -> ImageMatrices:
    images = ImageMatrices(class_names)
    for index, matrix in enumerate(matrices):
        images.add(f"image {index + first}", matrix)
    return images


def write_runs(folder: Path, *matrices: np.ndarray) -> list[Path]:
    """Run folders with a per_image.npz each."""
    paths = [folder / name for name in "ab"]
    for path, counts in zip(paths, matrices, strict=True):
        to_images(counts).save(path / "per_image.npz")
    return paths


def iou(matrices: np.ndarray) -> np.ndarray:
    total = matrices.sum(0)
    correct = total.diagonal()
    return correct / np.maximum(total.sum(0) + total.sum(1) - correct, 1)


def test_file_holds_metrics_and_intervals(tmp_path, monkeypatch):
    a, b = random_matrices(0, 0.7), random_matrices(1, 0.8)
    output = tmp_path / "out" / "compared.json"
    assert refinenet(monkeypatch, "compare", *write_runs(tmp_path, a, b), "--output", output) == 0
    compared = json.loads(output.read_text())
    assert (compared["images"], compared["level"], compared["resamples"]) == (COUNT, 0.95, 10_000)
    assert (compared["run_a"], compared["run_b"]) == (str(tmp_path / "a"), str(tmp_path / "b"))
    for index, name in enumerate(NAMES[:2]):
        row = compared["per_class_iou"][name]
        assert row["a"] == pytest.approx(iou(a)[index])
        assert row["b"] == pytest.approx(iou(b)[index])
        assert row["difference"] == pytest.approx(iou(b)[index] - iou(a)[index])
        assert row["interval"][0] < row["difference"] < row["interval"][1]
    assert compared["per_class_iou"]["train"] == {"a": None, "b": None, "difference": None, "interval": None}
    miou = compared["miou"]
    assert miou["difference"] == pytest.approx(iou(b)[:2].mean() - iou(a)[:2].mean())
    # Resample images by index in numpy.
    rng = np.random.default_rng(7)
    drawn_indices = rng.integers(0, COUNT, (4000, COUNT))
    spread = [iou(b[indices])[:2].mean() - iou(a[indices])[:2].mean() for indices in drawn_indices]
    width = miou["interval"][1] - miou["interval"][0]
    np.testing.assert_allclose(miou["interval"], np.percentile(spread, [2.5, 97.5]), atol=0.08 * width)


def test_table_marks_intervals_without_zero(tmp_path, monkeypatch, capsys):
    a = random_matrices(0, 0.8)
    b = a.copy()
    b[:, 0, 0] -= 100  # on every image, so the sign is certain
    b[:, 0, 2] += 100
    assert refinenet(monkeypatch, "compare", *write_runs(tmp_path, a, b)) == 0
    text = capsys.readouterr().out
    assert all(len(line) <= 80 for line in text.splitlines() if not line.startswith(("A: ", "B: ")))
    rows = [re.split(r" *[│┃] *", line)[1:-1] for line in text.splitlines() if line.startswith(("│", "┃"))]
    assert rows[0] == ["class", "A %", "B %", "B − A", "95 % interval", ""]
    assert [row[0] for row in rows[1:]] == [*NAMES, "mean IoU"]
    first, second = (100 * iou(matrices) for matrices in (a, b))
    assert rows[1][1:4] == [f"{first[0]:.2f}", f"{second[0]:.2f}", f"{second[0] - first[0]:+.2f}"]
    assert [row[-1] for row in rows[1:]] == ["*", "", "", "*"]
    assert rows[3][1:] == ["–", f"{0:.2f}", "–", "–", ""]
    sentences = " ".join(text.split("On these")[1].split())
    assert "below A's" in sentences
    assert "It excludes zero: the sign is unlikely to change" in sentences
    assert "It does not cover other seeds." in sentences


def test_run_against_itself_is_zero(tmp_path, monkeypatch, capsys):
    a = random_matrices(0, 0.8)
    folder, file = write_runs(tmp_path, a, a)[0], tmp_path / "b" / "per_image.npz"
    assert refinenet(monkeypatch, "compare", folder, file, "--output", tmp_path / "same.json") == 0
    compared = json.loads((tmp_path / "same.json").read_text())
    for row in (compared["miou"], compared["per_class_iou"]["road"]):
        assert (row["difference"], row["interval"]) == (0, [0, 0])
    assert "*" not in capsys.readouterr().out.split("* the 95 %")[0]


def test_seeds_are_averaged_over_same_resamples():
    matrices_a, matrices_b = (
        [random_matrices(seed, quality) for seed in seeds] for seeds, quality in (((0, 1, 2), 0.7), ((3, 4), 0.75))
    )
    a, b = (score([to_images(matrices) for matrices in run]) for run in (matrices_a, matrices_b))
    compared = difference(a, b)
    means = [np.mean([iou(matrices)[:2] for matrices in run], axis=0) for run in (matrices_a, matrices_b)]
    for index, name in enumerate(NAMES[:2]):
        row = compared["per_class_iou"][name]
        assert [row["a"], row["b"]] == pytest.approx([mean[index] for mean in means])
        assert row["difference"] == pytest.approx(means[1][index] - means[0][index])
    assert compared["per_class_iou"]["train"] == {"a": None, "b": None, "difference": None, "interval": None}
    assert compared["miou"]["difference"] == pytest.approx(means[1].mean() - means[0].mean())
    drawn_indices = np.random.default_rng(7).integers(0, COUNT, (4000, COUNT))
    spread = [
        np.mean([iou(matrices[indices])[:2].mean() for matrices in matrices_b])
        - np.mean([iou(matrices[indices])[:2].mean() for matrices in matrices_a])
        for indices in drawn_indices
    ]
    ends = compared["miou"]["interval"]
    np.testing.assert_allclose(ends, np.percentile(spread, [2.5, 97.5]), atol=0.08 * (ends[1] - ends[0]))


def test_lower_level_narrows_intervals(tmp_path, monkeypatch):
    paths = write_runs(tmp_path, random_matrices(0, 0.7), random_matrices(1, 0.8))
    widths = []
    for level in ("0.5", "0.95"):
        output = tmp_path / f"{level}.json"
        assert refinenet(monkeypatch, "compare", *paths, "--level", level, "--output", output) == 0
        low, high = json.loads(output.read_text())["miou"]["interval"]
        widths.append(high - low)
    assert widths[0] < 0.6 * widths[1]


def test_description_names_what_is_covered():
    comparison = {"images": 30, "level": 0.95, "miou": {"difference": -0.0123, "interval": [-0.02, 0.0049]}}
    assert describe(comparison) == (
        "On these 30 images, B's mean IoU is 1.23 points below A's. The 95 % interval of the difference is -2.00 to "
        "0.49 points. It includes zero: on similar images, either run could be better. The interval covers other "
        "images of this kind. It does not cover other seeds."
    )
    assert "no interval" in describe(
        compare(to_images(random_matrices(0, 0.7)[:1]), to_images(random_matrices(1, 0.7)[:1]))
    )


@pytest.mark.parametrize(
    ("interval", "excluded"),
    [([0.1, 0.2], True), ((-0.2, -0.1), True), ([-0.1, 0.1], False), ([0, 0], False), ([0, 0.1], False), (None, False)],
)
def test_excludes_zero(interval: Sequence[float] | None, excluded: bool):
    assert excludes_zero(interval) is excluded


def test_images_are_paired_by_name():
    a, b = random_matrices(0, 0.7), random_matrices(1, 0.8)
    reordered = ImageMatrices(NAMES)
    for index in reversed(range(COUNT)):
        reordered.add(f"image {index}", b[index])
    assert compare(to_images(a), reordered) == compare(to_images(a), to_images(b))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (to_images(random_matrices(1, 0.8), ("road", "bus", "train")), ["road, car, train", "road, bus, train"]),
        (to_images(random_matrices(1, 0.8), first=1), ["2 of them are in only one run", "image 0, image 30"]),
        (to_images(random_matrices(1, 0.8)[:-1]), ["A has 30 images", "B has 29", "image 29"]),
        (
            to_images(np.roll(random_matrices(1, 0.8), 1, 1)),
            ["targets of 30 images differ", "image 0, image 1, image 10, and 27 more"],
        ),
    ],
    ids=["classes", "images", "fewer images", "target"],
)
def test_different_targets_are_refused(other, words, tmp_path, monkeypatch, capsys):
    to_images(random_matrices(0, 0.7)).save(tmp_path / "a" / "per_image.npz")
    other.save(tmp_path / "b" / "per_image.npz")
    assert refinenet(monkeypatch, "compare", tmp_path / "a", tmp_path / "b") == 2
    error = capsys.readouterr().err
    assert all(part in error for part in words)


def test_missing_file_names_its_commands(tmp_path, monkeypatch, capsys):
    assert refinenet(monkeypatch, "compare", tmp_path, tmp_path) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path}/per_image.npz" in error
    assert "validate" in error
