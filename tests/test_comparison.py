"""`compare`: metrics against numpy, the printed table, and runs that cannot be compared."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import refinenet

from refinenet_pl.evaluation.comparison import compare
from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.files import write_json

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


def write_runs(folder: Path, *matrices: np.ndarray, seeds: Sequence[int | None] = (None,) * 6) -> list[Path]:
    """Run folders with a per_image.npz each, and their seed."""
    paths = [folder / name for name in "abcdef"[: len(matrices)]]
    for path, counts, seed in zip(paths, matrices, seeds, strict=False):
        to_images(counts).save(path / "per_image.npz")
        write_json(path / "results.json", {"seed": seed})
    return paths


NONE = {"a": None, "b": None, "difference": None, "interval": None, "image_interval": None, "seed_share": None}


def iou(matrices: np.ndarray) -> np.ndarray:
    total = matrices.sum(0)
    correct = total.diagonal()
    return correct / np.maximum(total.sum(0) + total.sum(1) - correct, 1)


def test_file_holds_metrics_and_intervals(tmp_path, monkeypatch):
    a, b = random_matrices(0, 0.7), random_matrices(1, 0.8)
    output = tmp_path / "out" / "compared.json"
    assert refinenet(monkeypatch, "compare", *write_runs(tmp_path, a, b), "--output", output) == 0
    compared = json.loads(output.read_text())
    assert (compared["images"], compared["level"], compared["covers"]) == (COUNT, 0.95, "images")
    assert (compared["runs_a"], compared["runs_b"]) == ([str(tmp_path / "a")], [str(tmp_path / "b")])
    for index, name in enumerate(NAMES[:2]):
        row = compared["per_class_iou"][name]
        assert row["a"] == pytest.approx(iou(a)[index])
        assert row["b"] == pytest.approx(iou(b)[index])
        assert row["difference"] == pytest.approx(iou(b)[index] - iou(a)[index])
        assert row["interval"][0] < row["difference"] < row["interval"][1]
    assert compared["per_class_iou"]["train"] == NONE
    miou = compared["miou"]
    assert miou["difference"] == pytest.approx(iou(b)[:2].mean() - iou(a)[:2].mean())
    # Resample images by index in numpy.
    rng = np.random.default_rng(7)
    drawn_indices = rng.integers(0, COUNT, (4000, COUNT))
    spread = [iou(b[indices])[:2].mean() - iou(a[indices])[:2].mean() for indices in drawn_indices]
    width = miou["interval"][1] - miou["interval"][0]
    np.testing.assert_allclose(miou["interval"], np.percentile(spread, [2.5, 97.5]), atol=0.08 * width)


def shifted(matrices: np.ndarray, pixels: int, to: int = 2) -> np.ndarray:
    """Matrices with fewer correct pixels of road on every image; they are predicted as another class."""
    result = matrices.copy()
    result[:, 0, 0] -= pixels
    result[:, 0, to] += pixels
    return result


def table_rows(text: str) -> list[list[str]]:
    return [re.split(r" *[│┃] *", line)[1:-1] for line in text.splitlines() if line.startswith(("│", "┃"))]


def test_several_seeds_give_stars(tmp_path, monkeypatch, capsys):
    a = [random_matrices(seed, 0.8) for seed in (0, 1, 2)]
    b = [shifted(matrices, 100 + seed) for seed, matrices in enumerate(a)]
    paths = write_runs(tmp_path, *a, *b, seeds=(0, 1, 2, 0, 1, 2))
    output = tmp_path / "compared.json"
    assert refinenet(monkeypatch, "compare", "--a", *paths[:3], "--b", *paths[3:], "--output", output) == 0
    text = capsys.readouterr().out
    assert all(len(line) <= 80 for line in text.splitlines() if not line.startswith(("A: ", "B: ")))
    rows = table_rows(text)
    assert rows[0] == ["class", "A %", "B %", "B − A", "interval", "seeds %", ""]
    assert [row[0] for row in rows[1:]] == [*NAMES, "mean IoU"]
    first, second = (np.mean([100 * iou(matrices) for matrices in side], axis=0) for side in (a, b))
    assert rows[1][1:4] == [f"{first[0]:.2f}", f"{second[0]:.2f}", f"{second[0] - first[0]:+.2f}"]
    assert [row[-1] for row in rows[1:]] == ["*", "", "", "*"]
    assert rows[3][1:] == ["–", f"{0:.2f}", "–", "–", "–", ""]
    sentences = " ".join(text.split("On these")[1].split())
    assert "below A's" in sentences
    assert "The 95 % interval over seeds and images is" in sentences
    assert "It excludes zero" in sentences
    assert "Runs are paired by seed: 0, 1, 2." in sentences
    compared = json.loads(output.read_text())
    assert (compared["covers"], compared["seeds_paired"], compared["seeds_b"]) == ("seeds and images", True, [0, 1, 2])
    narrow, wide = compared["miou"]["image_interval"], compared["miou"]["interval"]
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_seeds_that_disagree_remove_the_star(tmp_path, monkeypatch, capsys):
    a = [random_matrices(seed, 0.8) for seed in (0, 1, 2)]
    b = [shifted(matrices, pixels, to=1) for pixels, matrices in zip((10, 300, 40), a, strict=True)]
    paths = write_runs(tmp_path, *a, *b, seeds=(0, 1, 2, 0, 1, 2))
    assert refinenet(monkeypatch, "compare", "--a", *paths[:3], "--b", *paths[3:]) == 0
    text = capsys.readouterr().out
    assert [row[-1] for row in table_rows(text)[1:]] == [""] * 4
    assert "It includes zero: with other seeds or on similar images, either side could be better." in " ".join(
        text.split()
    )


def test_one_run_a_side_has_no_star(tmp_path, monkeypatch, capsys):
    a = random_matrices(0, 0.8)
    assert refinenet(monkeypatch, "compare", *write_runs(tmp_path, a, shifted(a, 100))) == 0
    text = capsys.readouterr().out
    rows = table_rows(text)
    assert rows[0] == ["class", "A %", "B %", "B − A", "image interval", ""]
    assert [row[-1] for row in rows[1:]] == [""] * 4
    assert "It says nothing about other seeds, so the difference gets no star." in " ".join(text.split())


@pytest.mark.parametrize("arguments", [[], ["one"], ["one", "two", "three"], ["--a", "one"], ["one", "--b", "two"]])
def test_incomplete_sides_are_told(arguments, monkeypatch, capsys):
    assert refinenet(monkeypatch, "compare", *arguments) == 2
    assert "Expected `refinenet compare RUN_A RUN_B`, or `refinenet compare --a RUN RUN --b RUN RUN`" in (
        capsys.readouterr().err
    )


def test_run_against_itself_is_zero(tmp_path, monkeypatch):
    a = random_matrices(0, 0.8)
    folder, file = write_runs(tmp_path, a, a)[0], tmp_path / "b" / "per_image.npz"
    assert refinenet(monkeypatch, "compare", folder, file, "--output", tmp_path / "same.json") == 0
    compared = json.loads((tmp_path / "same.json").read_text())
    for row in (compared["miou"], compared["per_class_iou"]["road"]):
        assert (row["difference"], row["interval"]) == (0, [0, 0])


def test_other_seeds_are_not_paired():
    matrices_a, matrices_b = (
        [random_matrices(seed, quality) for seed in seeds] for seeds, quality in (((0, 1, 2), 0.7), ((3, 4), 0.75))
    )
    found = compare([*map(to_images, matrices_a)], [*map(to_images, matrices_b)], [0, 1, 2], [3, 4])
    compared = found.as_dict()
    means = [np.mean([iou(matrices)[:2] for matrices in run], axis=0) for run in (matrices_a, matrices_b)]
    for index, name in enumerate(NAMES[:2]):
        row = compared["per_class_iou"][name]
        assert [row["a"], row["b"]] == pytest.approx([mean[index] for mean in means])
        assert row["difference"] == pytest.approx(means[1][index] - means[0][index])
    assert compared["per_class_iou"]["train"] == NONE
    assert compared["miou"]["difference"] == pytest.approx(means[1].mean() - means[0].mean())
    assert not compared["seeds_paired"]
    assert "The sides have 3 and 2 runs, which are not paired" in found.describe()


def test_lower_level_narrows_intervals(tmp_path, monkeypatch):
    paths = write_runs(tmp_path, random_matrices(0, 0.7), random_matrices(1, 0.8))
    widths = []
    for level in ("0.5", "0.95"):
        output = tmp_path / f"{level}.json"
        assert refinenet(monkeypatch, "compare", *paths, "--level", level, "--output", output) == 0
        low, high = json.loads(output.read_text())["miou"]["interval"]
        widths.append(high - low)
    assert widths[0] < 0.6 * widths[1]


def test_one_image_has_no_interval():
    images = [to_images(random_matrices(seed, 0.7)[:1]) for seed in (0, 1)]
    assert "no interval" in compare(images[:1], images[1:]).describe()


def test_images_are_paired_by_name():
    a, b = random_matrices(0, 0.7), random_matrices(1, 0.8)
    reordered = ImageMatrices(NAMES)
    for index in reversed(range(COUNT)):
        reordered.add(f"image {index}", b[index])
    expected = compare([to_images(a)], [to_images(b)]).as_dict()
    assert compare([to_images(a)], [reordered]).as_dict() == expected


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
