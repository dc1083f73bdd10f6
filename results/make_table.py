"""Makes results.csv, the table of all committed results, from this folder: `python results/make_table.py`."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from refinenet_pl.differences import differences
from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.evaluation.scores import score
from refinenet_pl.files import atomic_write
from refinenet_pl.reports.study_summary import summarize_study
from refinenet_pl.runs import RunFolder
from refinenet_pl.studies.loading import load_study

RESULTS = Path(__file__).parent
EXPERIMENTS = RESULTS.parent / "experiments"
TABLE = RESULTS / "results.csv"


def table() -> list[dict[str, object]]:
    """Return one record per single run, and per row of a study. Metrics are in 0..1, None where nothing is known."""
    folders = sorted(path.parent for path in RESULTS.rglob("results.json") if "studies" not in path.parts)
    return [
        *map(_single, folders),
        *(record for path in sorted((RESULTS / "studies").iterdir()) for record in _study(path)),
    ]


def _single(folder: Path) -> dict[str, object]:
    run = RunFolder(folder)
    results = run.read_results()
    ends, covers = None, None
    if run.per_image.is_file():
        ends = score([ImageMatrices.load(run.per_image)]).estimate().image_interval()[-1].clip(0, 1).tolist()
        covers = "images"
    recipe = _recipe(results["config"])
    return _record(str(folder.relative_to(RESULTS)), "", recipe, [run], [results], results["miou"], ends, covers)


def _study(folder: Path) -> Iterator[dict[str, object]]:
    study = load_study(EXPERIMENTS / "studies" / f"{folder.name}.yaml")
    summary = summarize_study(study, RESULTS / "studies")
    files = [Path(file) for file in ([study.base] if isinstance(study.base, str) else study.base)]
    (recipe,) = [file.stem for file in files if file.parent.name == "recipes"]
    for dataset in summary.datasets:
        for row in dataset.finished:
            assert row.mean is not None
            runs, results = [run.folder for run in row.runs], [run.results for run in row.runs]
            covers = "seeds and images" if len(runs) > 1 else "images"
            ends = row.interval("miou")
            yield _record(f"studies/{folder.name}", row.label, recipe, runs, results, row.mean, ends, covers)


def _record(
    result: str,
    row: str,
    recipe: str | None,
    runs: list[RunFolder],
    results: list[dict[str, Any]],
    miou: float,
    ends: list[float] | None,
    covers: str | None,
) -> dict[str, object]:
    config = results[0]["config"]
    network = config["model"]["network"]
    costs = [costs for run in runs if (costs := run.read_costs()) is not None]
    manifests = [json.loads(run.manifest.read_text()) for run in runs if run.manifest.is_file()]
    low, high = ends or (None, None)
    return {
        "result": result,
        "row": row,
        "data": config["data"]["class_path"].rpartition(".")[2].removesuffix("DataModule"),
        "network": network["class_path"].rpartition(".")[2],
        "recipe": recipe,
        "encoder": network["init_args"].get("encoder_name"),
        "seeds": " ".join(str(each["seed"]) for each in results),
        "images": results[0]["images"],
        "miou": round(miou, 6),
        "low": None if low is None else round(low, 6),
        "high": None if high is None else round(high, 6),
        "covers": covers,
        "steps": costs[0]["steps"] if costs else None,
        "training_seconds": round(sum(each["seconds"] for each in costs) / len(costs)) if costs else None,
        "parameters": costs[0]["parameters"] if costs else None,
        "device": results[0]["versions"]["device"],
        "torch": results[0]["versions"]["torch"],
        "commit": " ".join(dict.fromkeys(each["code"]["commit"][:7] for each in manifests)),
    }


def _recipe(config: dict[str, Any]) -> str | None:
    """Return the recipe whose network, loss and optimizer a run has; None if that recipe has changed since."""
    for path in sorted((EXPERIMENTS / "recipes").glob("*.yaml")):
        model = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]
        if not differences({"model": model}, config):
            return path.stem
    return None


def main() -> None:
    """Write the table."""
    records = table()
    with atomic_write(TABLE) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    print(f"{TABLE}: {len(records)} rows")


if __name__ == "__main__":
    main()
