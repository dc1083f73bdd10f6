"""Measures the inference of each row's network, all rows in turn, when no cell is running."""

import csv
import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from refinenet_pl.class_paths import class_paths
from refinenet_pl.errors import UserError
from refinenet_pl.files import atomic_write
from refinenet_pl.progress import track
from refinenet_pl.runs import RunFolder
from refinenet_pl.studies.commands import REFINENET
from refinenet_pl.studies.folders import cell_folder, study_folder
from refinenet_pl.studies.study import Cell, Study
from refinenet_pl.text import join


def inference_file(study: Study, runs: Path) -> Path:
    """Return the CSV with the costs of inference. Its column "row" holds `Cell.row`."""
    return study_folder(runs, study) / "inference.csv"


def measure_inference(study: Study, runs: Path) -> None:
    """Run `refinenet benchmark infer` on the rows that have a finished cell, unless all of them are measured.

    Rows with images of one size are measured in turn, by one command. So a new row measures the others again, because
    times of different days do not compare.

    Raises:
        UserError: The command failed.
    """
    path = inference_file(study, runs)
    measurements = read_rows(path, "row")
    measured = {row["row"] for row in measurements}
    by_size: dict[str, dict[str, tuple[Cell, RunFolder]]] = {}
    for cell in study.cells:
        finished = cell_folder(runs, study, cell).finished
        if finished is not None:
            size = json.dumps(study.image_size_of(cell.dataset))
            by_size.setdefault(size, {}).setdefault(cell.row, (cell, finished))
    pending = {size: rows for size, rows in by_size.items() if not rows.keys() <= measured}
    with track(pending.items(), "measuring inference") as tracked:
        for size, rows in tracked:
            measurements = [line for line in measurements if line["row"] not in rows]
            measurements += _benchmark(rows, size)
            _write_rows(path, measurements)


def read_rows(path: Path, column: str | None = None) -> list[dict[str, str]]:
    """Read the rows of a CSV file, each by column; a missing file has no rows.

    Args:
        path: The file.
        column: A column that must be there.

    Raises:
        UserError: The file is no CSV in UTF-8, or lacks the column.
    """
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read it as CSV ({error}); delete it to measure again") from error
    if column is not None and any(not row.get(column) for row in rows):
        raise UserError(f"{path}: found rows without a value in the column {column!r}; delete it to measure again")
    return rows


def _write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _benchmark(rows: Mapping[str, tuple[Cell, RunFolder]], size: str) -> list[dict[str, str]]:
    networks = {row: _network(cell, run) for row, (cell, run) in rows.items()}
    with tempfile.TemporaryDirectory() as folder:
        config, output = Path(folder) / "benchmark.yaml", Path(folder) / "rows.csv"
        config.write_text(yaml.safe_dump({"networks": networks}, sort_keys=False), encoding="utf-8")
        command = [*REFINENET, "benchmark", "infer", "--config", str(config), "--size", size, "--output", str(output)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            folders = join((str(run.path) for _, run in rows.values()), limit=5)
            raise UserError(f"cannot measure the networks of {folders}: {done.stderr.strip()[-1000:]}")
        return [{"row": line["name"], **line} for line in read_rows(output, "name")]


def _network(cell: Cell, run: RunFolder) -> dict[str, Any]:
    """Return network and inference of a run as plain values, once it is known that they name no unknown class."""
    from refinenet_pl.weights.trust import check_section  # imports torch, which a study needs only here

    model = run.read_config().get("model")
    if not isinstance(model, dict) or not isinstance(model.get("network"), dict):
        raise UserError(f"{run.config}: found no network in section `model`, which `refinenet fit` saves")
    settings = {"network": model["network"], "inference": model.get("inference") or {}}
    for key, section in settings.items():
        advice = f"Delete {run.path}, or name the class in the study"
        check_section(f"model.{key}", section, run.config, class_paths(cell.config), advice)
    arguments = model["network"].get("init_args") or {}
    if "encoder_weights" in arguments:
        arguments["encoder_weights"] = None  # costs do not depend on the weights
    return settings
