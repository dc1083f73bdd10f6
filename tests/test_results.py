"""results.json and the table: all metrics, all classes, valid JSON, atomic writes."""

import json
import re
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from refinenet_pl.evaluation.boundary import BoundaryIoU, TrimapIoU
from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.evaluation.results import results_table, summarize, summarize_boundaries, summarize_intervals
from refinenet_pl.files import write_json

NAMES = ("road", "car", "train", "sky")
MATRIX = torch.tensor([[6, 2, 0, 0], [1, 3, 0, 4], [0, 0, 0, 0], [0, 0, 0, 0]])


def test_summary_holds_all_metrics():
    iou = [6 / 9, 3 / 10, 0]
    assert summarize(MATRIX, NAMES) == {
        "miou": pytest.approx(sum(iou) / 3),
        "pixel_accuracy": pytest.approx(9 / 16),
        "mean_accuracy": pytest.approx((6 / 8 + 3 / 8) / 2),
        "frequency_weighted_iou": pytest.approx((iou[0] + iou[1]) / 2),
        "miou_conventions": {
            "cityscapes": pytest.approx(sum(iou) / 3),
            "voc": None,
            "matlab": pytest.approx(sum(iou) / 2),
            "absent_as_zero": pytest.approx(sum(iou) / 4),
        },
        "per_class_iou": {"road": pytest.approx(6 / 9), "car": pytest.approx(0.3), "train": None, "sky": 0.0},
        "per_class_precision": {"road": pytest.approx(6 / 7), "car": pytest.approx(3 / 5), "train": None, "sky": 0.0},
        "per_class_recall": {"road": pytest.approx(6 / 8), "car": pytest.approx(3 / 8), "train": None, "sky": None},
        "per_class_f1": {"road": pytest.approx(12 / 15), "car": pytest.approx(6 / 13), "train": None, "sky": 0.0},
        "confusion_matrix": MATRIX.tolist(),
    }


def test_undefined_metrics_are_none():
    summary = summarize(torch.zeros(4, 4, dtype=torch.int64), NAMES)
    for kind in ("iou", "precision", "recall", "f1"):
        assert summary[f"per_class_{kind}"] == dict.fromkeys(NAMES)
    means = ("miou", "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou")
    assert [summary[key] for key in means] == [None] * 4
    assert summary["miou_conventions"] == {"cityscapes": None, "voc": None, "matlab": None, "absent_as_zero": 0.0}


def test_boundary_summary():
    target = torch.zeros(20, 20, dtype=torch.uint8)
    target[:, 10:] = 1
    prediction = target.clone()
    prediction[:, 9] = 1
    boundary, trimap = BoundaryIoU(4), TrimapIoU(4, widths=(1, 3))
    for metric in (boundary, trimap):
        metric.update(prediction, target)
    summary = summarize_boundaries(boundary, trimap, NAMES)
    # The regions are rings of one pixel. They differ in one column and in the ends of two rows.
    road, car = 36 / (56 + 54 - 36), 38 / (56 + 58 - 38)
    per_class = {"road": pytest.approx(road), "car": pytest.approx(car), "train": None, "sky": None}
    assert summary["boundary_iou"] == {
        "mean": pytest.approx((road + car) / 2),
        "per_class": per_class,
        "width": "max(1, round(0.02 * image diagonal)) pixels",
    }
    assert summary["trimap_iou"] == {"1": pytest.approx((0 + 1 / 2) / 2), "3": pytest.approx((2 / 3 + 3 / 4) / 2)}


def to_images(matrices: list[torch.Tensor]) -> ImageMatrices:
    images = ImageMatrices(NAMES)
    for index, matrix in enumerate(matrices):
        images.add(str(index), matrix)
    return images


def test_intervals_of_absent_classes_are_none():
    intervals = summarize_intervals(to_images([MATRIX, MATRIX.flip(1), 3 * MATRIX]))
    assert (intervals["level"], intervals["covers"]) == (0.95, "images")
    assert (intervals["units"], intervals["effective_images"]) == ("3 independent images", 3)
    low, high = intervals["miou"]
    assert 0 <= low < high <= 1
    assert intervals["per_class_iou"].keys() == set(NAMES)
    assert summarize_intervals(to_images([MATRIX, MATRIX]))["per_class_iou"] == {
        "road": pytest.approx([6 / 9] * 2), "car": pytest.approx([0.3] * 2), "train": None, "sky": None
    }  # fmt: skip


def test_summary_needs_one_name_per_class():
    with pytest.raises(ValueError, match="zip"):
        summarize(MATRIX, NAMES[:3])


def test_large_counts_stay_exact_in_json(tmp_path: Path):
    matrix = MATRIX + 2**53 + 1
    write_json(tmp_path / "results.json", summarize(matrix, NAMES))
    assert json.loads((tmp_path / "results.json").read_text())["confusion_matrix"] == matrix.tolist()


def test_empty_results_are_strict_json(tmp_path: Path):
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    summary = summarize(torch.zeros(4, 4, dtype=torch.int64), NAMES)
    write_json(tmp_path / "results.json", summary)
    assert json.loads((tmp_path / "results.json").read_text(), parse_constant=refuse) == summary


def test_writing_replaces_the_file(tmp_path: Path):
    path = tmp_path / "new" / "folder" / "results.json"
    write_json(path, {"miou": 0.1})
    write_json(path, {"miou": 0.2})
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]
    assert json.loads(path.read_text()) == {"miou": 0.2}


def test_failed_write_keeps_the_old_file(tmp_path: Path):
    path = tmp_path / "results.json"
    write_json(path, {"miou": 0.1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"miou": float("nan")})
    assert json.loads(path.read_text()) == {"miou": 0.1}


def test_table_has_a_row_per_class():
    class_names = ("road", "a class with a rather long name", "train", "sky")
    ends = dict(zip(class_names, ([0.61254, 0.7], [0.25, 0.4], None, [0.0, 0.0]), strict=True))
    results = summarize(MATRIX, class_names) | {
        "intervals": {"miou": [0.3, 0.35], "per_class_iou": ends, "level": 0.95},
        "boundary_iou": {"mean": 0.25, "per_class": dict(zip(class_names, (0.5, 0.25, None, 0.0), strict=True))},
    }
    table = results_table(results, title="val: 1 images")
    console = Console(file=StringIO(), record=True, width=80)
    console.print(table)
    rows = [re.split(r" *[│┃] *", line)[1:-1] for line in console.export_text().splitlines()]
    assert ["class", "IoU %", "95 % interval", "boundary IoU %"] in rows
    for row in (
        ["road", "66.67", "61.25 to 70.00", "50.00"],
        ["a class with a rather long name", "30.00", "25.00 to 40.00", "25.00"],
        ["train", "–", "–", "–"],
        ["sky", "0.00", "0.00 to 0.00", "0.00"],
        ["mean IoU", "32.22", "30.00 to 35.00", "25.00"],
        ["pixel accuracy", "56.25", "", ""],
    ):
        assert row in rows
    assert table.row_count == len(class_names) + 3
