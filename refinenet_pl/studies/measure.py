"""What inference costs with each row's network, measured one after the other when nothing else of the study runs."""

import csv
import subprocess
import tempfile
from pathlib import Path

import yaml
from rich.progress import track

from refinenet_pl.errors import UserError
from refinenet_pl.files import atomic_write, read_yaml
from refinenet_pl.studies.commands import REFINENET
from refinenet_pl.studies.folders import cell_folder
from refinenet_pl.studies.study import Study, row_name


def inference_file(study: Study, runs: Path) -> Path:
    """Where the costs of inference are kept: a row for each of the study's, named in the column "row"."""
    return runs / study.name / "inference.csv"


def measure_inference(study: Study, runs: Path) -> None:
    """Run `refinenet benchmark` for every row that has a finished cell and is not measured yet.

    Raises:
        UserError: The command failed.
    """
    path = inference_file(study, runs)
    measured = read_rows(path)
    done = {row["row"] for row in measured}
    todo: dict[str, Path] = {}
    for cell in study.cells:
        finished = cell_folder(runs, study, cell).finished
        if finished is not None and row_name(cell.levels) not in done:
            todo.setdefault(row_name(cell.levels), finished)
    for name, run in track(todo.items(), "measuring inference", disable=not todo, transient=True):
        measured.append({"row": name, **_benchmark(study, run)})
        _write_rows(path, measured)


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file by column; none if there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    with atomic_write(path) as beside, beside.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _benchmark(study: Study, run: Path) -> dict[str, str]:
    model = read_yaml(run / "config.yaml", "run")["model"]
    if "encoder_weights" in model["network"]["init_args"]:
        model["network"]["init_args"]["encoder_weights"] = None  # speed does not depend on them
    settings = {"network": model["network"], "inference": model["inference"], "size": list(study.image_size)}
    with tempfile.TemporaryDirectory() as folder:
        config, output = Path(folder) / "benchmark.yaml", Path(folder) / "figures.csv"
        config.write_text(yaml.safe_dump(settings))
        command = [*REFINENET, "benchmark", "--config", str(config), "--output", str(output)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(f"cannot measure the network of {run}: {done.stderr.strip()[-1000:]}")
        (figures,) = read_rows(output)
    return figures
