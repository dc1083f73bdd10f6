"""results.json and the table: all figures, every class, valid JSON, and never half a file."""

import json
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from refinenet_pl.evaluation.results import results_table, summarize, write_json

NAMES = ("road", "car", "train", "sky")
MATRIX = torch.tensor([[6, 2, 0, 0], [1, 3, 0, 4], [0, 0, 0, 0], [0, 0, 0, 0]])


def test_the_summary_holds_every_figure_as_a_fraction_and_the_matrix_itself():
    summary = summarize(MATRIX, NAMES)
    assert summary == {
        "miou": pytest.approx((6 / 9 + 3 / 10 + 0) / 3),
        "pixel_accuracy": pytest.approx(9 / 16),
        "mean_accuracy": pytest.approx((6 / 8 + 3 / 8) / 2),
        "per_class_iou": {"road": pytest.approx(6 / 9), "car": pytest.approx(0.3), "train": None, "sky": 0.0},
        "confusion_matrix": MATRIX.tolist(),
    }


def test_an_undefined_figure_is_none():
    summary = summarize(torch.zeros(4, 4, dtype=torch.int64), NAMES)
    assert summary["per_class_iou"] == dict.fromkeys(NAMES)
    assert [summary[key] for key in ("miou", "pixel_accuracy", "mean_accuracy")] == [None] * 3


def test_a_summary_needs_one_name_for_each_class():
    with pytest.raises(ValueError, match="zip"):
        summarize(MATRIX, NAMES[:3])


def test_counts_of_any_size_come_back_from_the_file_exactly(tmp_path: Path):
    matrix = MATRIX + 2**53 + 1
    write_json(tmp_path / "results.json", summarize(matrix, NAMES))
    assert json.loads((tmp_path / "results.json").read_text())["confusion_matrix"] == matrix.tolist()


def test_the_file_is_strict_json_even_if_nothing_was_counted(tmp_path: Path):
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    summary = summarize(torch.zeros(4, 4, dtype=torch.int64), NAMES)
    write_json(tmp_path / "results.json", summary)
    assert json.loads((tmp_path / "results.json").read_text(), parse_constant=refuse) == summary


def test_writing_makes_the_folder_replaces_the_old_file_and_leaves_nothing_beside_it(tmp_path: Path):
    path = tmp_path / "new" / "folder" / "results.json"
    write_json(path, {"miou": 0.1})
    write_json(path, {"miou": 0.2})
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]
    assert json.loads(path.read_text()) == {"miou": 0.2}


def test_a_failed_write_leaves_the_last_file_whole(tmp_path: Path):
    path = tmp_path / "results.json"
    write_json(path, {"miou": 0.1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"miou": float("nan")})
    assert json.loads(path.read_text()) == {"miou": 0.1}


def test_the_table_has_a_row_for_every_class_even_one_that_is_missed_or_absent():
    table = results_table(summarize(MATRIX, NAMES), title="val: 1 images")
    console = Console(file=StringIO(), record=True, width=60)
    console.print(table)
    rows = [line.replace("│", " ").split() for line in console.export_text().splitlines()]
    for row in (["road", "66.67"], ["car", "30.00"], ["train", "–"], ["sky", "0.00"], ["mean", "IoU", "32.22"]):
        assert row in rows
    assert table.row_count == len(NAMES) + 3
