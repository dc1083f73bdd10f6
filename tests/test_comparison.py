"""`compare`: figures against numpy's own count, the printed table, and runs that cannot be compared."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import refinenet

from refinenet_pl.evaluation.comparison import compare, describe, difference, score
from refinenet_pl.evaluation.per_image import ImageMatrices

NAMES = ("road", "car", "train")
COUNT = 30


def drawn(seed: int, quality: float) -> np.ndarray:
    """Matrices [COUNT, 3, 3] of 1000 true pixels of road and of car an image, and no train."""
    random = np.random.default_rng(seed)
    matrices = np.zeros((COUNT, 3, 3), np.int64)
    for label in (0, 1):
        hits = (1000 * np.clip(quality - 0.2 * label + random.normal(0, 0.1, COUNT), 0, 1)).astype(int)
        matrices[:, label, label] = hits
        matrices[:, label, 1 - label] = 1000 - hits
    return matrices


def images_of(matrices: np.ndarray, class_names: Sequence[str] = NAMES, first: int = 0) -> ImageMatrices:
    images = ImageMatrices(class_names)
    for index, matrix in enumerate(matrices):
        images.add(f"image {index + first}", matrix)
    return images


def runs(folder: Path, *matrices: np.ndarray) -> list[Path]:
    """Run folders of which each holds a per_image.npz."""
    paths = [folder / name for name in "ab"]
    for path, counts in zip(paths, matrices, strict=True):
        images_of(counts).save(path / "per_image.npz")
    return paths


def iou(matrices: np.ndarray) -> np.ndarray:
    total = matrices.sum(0)
    hits = total.diagonal()
    return hits / np.maximum(total.sum(0) + total.sum(1) - hits, 1)


def test_the_file_holds_both_figures_their_difference_and_an_interval_around_it(tmp_path, monkeypatch):
    a, b = drawn(0, 0.7), drawn(1, 0.8)
    output = tmp_path / "out" / "compared.json"
    assert refinenet(monkeypatch, "compare", *runs(tmp_path, a, b), "--output", output) == 0
    compared = json.loads(output.read_text())
    assert (compared["images"], compared["level"], compared["resamples"]) == (COUNT, 0.95, 10_000)
    assert (compared["run_a"], compared["run_b"]) == (str(tmp_path / "a"), str(tmp_path / "b"))
    for label, name in enumerate(NAMES[:2]):
        row = compared["per_class_iou"][name]
        assert row["a"] == pytest.approx(iou(a)[label])
        assert row["b"] == pytest.approx(iou(b)[label])
        assert row["difference"] == pytest.approx(iou(b)[label] - iou(a)[label])
        assert row["interval"][0] < row["difference"] < row["interval"][1]
    assert compared["per_class_iou"]["train"] == {"a": None, "b": None, "difference": None, "interval": None}
    miou = compared["miou"]
    assert miou["difference"] == pytest.approx(iou(b)[:2].mean() - iou(a)[:2].mean())
    # Resampled image by image, in numpy's own way.
    random = np.random.default_rng(7)
    chosen = random.integers(0, COUNT, (4000, COUNT))
    spread = [iou(b[pick])[:2].mean() - iou(a[pick])[:2].mean() for pick in chosen]
    width = miou["interval"][1] - miou["interval"][0]
    np.testing.assert_allclose(miou["interval"], np.percentile(spread, [2.5, 97.5]), atol=0.08 * width)


def test_the_table_marks_the_classes_whose_interval_excludes_zero(tmp_path, monkeypatch, capsys):
    a = drawn(0, 0.8)
    b = a.copy()
    b[:, 0, 0] -= 100  # on every image, so there is no doubt
    b[:, 0, 2] += 100
    assert refinenet(monkeypatch, "compare", *runs(tmp_path, a, b)) == 0
    text = capsys.readouterr().out
    assert all(len(line) <= 80 for line in text.splitlines() if not line.startswith(("A: ", "B: ")))
    rows = [re.split(r" *[│┃] *", line)[1:-1] for line in text.splitlines() if line.startswith(("│", "┃"))]
    assert rows[0] == ["class", "A %", "B %", "B − A", "95 % interval", ""]
    assert [row[0] for row in rows[1:]] == [*NAMES, "mean IoU"]
    first, second = (100 * iou(matrices) for matrices in (a, b))
    assert rows[1][1:4] == [f"{first[0]:.2f}", f"{second[0]:.2f}", f"{second[0] - first[0]:+.2f}"]
    assert [row[-1] for row in rows[1:]] == ["*", "", "", "*"]
    assert rows[3][1:] == ["–", f"{0:.2f}", "–", "–", ""]
    sentence = " ".join(text.split("Over these")[1].split())
    assert "below A's" in sentence
    assert "excludes zero" in sentence
    assert "not over seeds" in sentence


def test_a_run_beside_itself_differs_by_nothing_and_its_interval_says_so(tmp_path, monkeypatch, capsys):
    a = drawn(0, 0.8)
    folder, file = runs(tmp_path, a, a)[0], tmp_path / "b" / "per_image.npz"
    assert refinenet(monkeypatch, "compare", folder, file, "--output", tmp_path / "same.json") == 0
    compared = json.loads((tmp_path / "same.json").read_text())
    for row in (compared["miou"], compared["per_class_iou"]["road"]):
        assert (row["difference"], row["interval"]) == (0, [0, 0])
    assert "*" not in capsys.readouterr().out.split("* excludes zero")[0]


def test_over_several_seeds_it_is_the_difference_of_their_means_with_the_same_resamples_for_all():
    of_a, of_b = ([drawn(seed, quality) for seed in seeds] for seeds, quality in (((0, 1, 2), 0.7), ((3, 4), 0.75)))
    a, b = (score([images_of(matrices) for matrices in runs]) for runs in (of_a, of_b))
    compared = difference(a, b)
    means = [np.mean([iou(matrices)[:2] for matrices in runs], axis=0) for runs in (of_a, of_b)]
    for label, name in enumerate(NAMES[:2]):
        row = compared["per_class_iou"][name]
        assert [row["a"], row["b"]] == pytest.approx([mean[label] for mean in means])
        assert row["difference"] == pytest.approx(means[1][label] - means[0][label])
    assert compared["per_class_iou"]["train"] == {"a": None, "b": None, "difference": None, "interval": None}
    assert compared["miou"]["difference"] == pytest.approx(means[1].mean() - means[0].mean())
    chosen = np.random.default_rng(7).integers(0, COUNT, (4000, COUNT))
    spread = [
        np.mean([iou(matrices[pick])[:2].mean() for matrices in of_b])
        - np.mean([iou(matrices[pick])[:2].mean() for matrices in of_a])
        for pick in chosen
    ]
    ends = compared["miou"]["interval"]
    np.testing.assert_allclose(ends, np.percentile(spread, [2.5, 97.5]), atol=0.08 * (ends[1] - ends[0]))


def test_a_lower_level_gives_narrower_intervals(tmp_path, monkeypatch):
    paths = runs(tmp_path, drawn(0, 0.7), drawn(1, 0.8))
    widths = []
    for level in ("0.5", "0.95"):
        output = tmp_path / f"{level}.json"
        assert refinenet(monkeypatch, "compare", *paths, "--level", level, "--output", output) == 0
        low, high = json.loads(output.read_text())["miou"]["interval"]
        widths.append(high - low)
    assert widths[0] < 0.6 * widths[1]


def test_the_sentence_says_when_the_images_leave_it_open_which_is_ahead():
    sentence = describe(compare(images_of(drawn(0, 0.7)), images_of(drawn(1, 0.7))))
    assert "holds zero" in sentence
    assert f"Over these {COUNT} images" in sentence
    assert "no interval" in describe(compare(images_of(drawn(0, 0.7)[:1]), images_of(drawn(1, 0.7)[:1])))


def test_images_are_paired_by_name_in_whatever_order_they_were_scored():
    a, b = drawn(0, 0.7), drawn(1, 0.8)
    turned = ImageMatrices(NAMES)
    for index in reversed(range(COUNT)):
        turned.add(f"image {index}", b[index])
    assert compare(images_of(a), turned) == compare(images_of(a), images_of(b))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (images_of(drawn(1, 0.8), ("road", "bus", "train")), ["road, car, train", "road, bus, train"]),
        (images_of(drawn(1, 0.8), first=1), ["2 are in one alone", "image 0, image 30"]),
        (images_of(drawn(1, 0.8)[:-1]), ["on 30 images", "on 29", "image 29"]),
        (images_of(np.roll(drawn(1, 0.8), 1, 1)), ["true labels of 30 images differ", "image 0, image 1, image 10"]),
    ],
    ids=["classes", "images", "fewer images", "truth"],
)
def test_runs_over_another_truth_are_refused_with_what_differs(other, said, tmp_path, monkeypatch, capsys):
    images_of(drawn(0, 0.7)).save(tmp_path / "a" / "per_image.npz")
    other.save(tmp_path / "b" / "per_image.npz")
    assert refinenet(monkeypatch, "compare", tmp_path / "a", tmp_path / "b") == 2
    error = capsys.readouterr().err
    assert all(part in error for part in said)


def test_a_folder_without_the_file_is_named_with_the_commands_that_write_it(tmp_path, monkeypatch, capsys):
    assert refinenet(monkeypatch, "compare", tmp_path, tmp_path) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path}/per_image.npz" in error
    assert "validate" in error
