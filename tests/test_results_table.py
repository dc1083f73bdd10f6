"""The table of all committed results, against the files that it is made from."""

import csv
import json
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from helpers.commands import refinenet_process

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    return list(csv.DictReader((RESULTS / "results.csv").open(encoding="utf-8")))


def test_table_is_up_to_date(rows):
    made = runpy.run_path(str(RESULTS / "make_table.py"))["table"]()
    assert [{key: "" if value is None else str(value) for key, value in record.items()} for record in made] == rows


def test_figures_are_those_of_the_results(rows):
    for row in rows:
        if row["result"].startswith("studies/"):
            continue
        results = json.loads((RESULTS / row["result"] / "results.json").read_text(encoding="utf-8"))
        assert float(row["miou"]) == pytest.approx(results["miou"], abs=1e-6)
        assert row["seeds"] == str(results["seed"])
    of_studies = [row for row in rows if row["result"] == "studies/chained_pooling_camvid_cpu"]
    for row in of_studies:
        files = (RESULTS / row["result"]).glob(f"pooling-{row['row']}_seed-*/*/results.json")
        values = [json.loads(file.read_text(encoding="utf-8"))["miou"] for file in files]
        assert float(row["miou"]) == pytest.approx(sum(values) / len(values), abs=1e-6)
        assert float(row["low"]) < float(row["miou"]) < float(row["high"])
        assert row["covers"] == "seeds and images"


def test_figures_of_the_recipes_page(rows):
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    scenes = [100 * miou for miou in mious(RESULTS / "studies/initial_weights_scenes", "initial-weights-identity_*")]
    assert f"{np.mean(scenes):.2f} ± {np.std(scenes, ddof=1):.2f} % mean IoU" in page
    (row,) = [row for row in rows if row["result"].endswith("scenes") and row["row"] == "identity"]
    assert "{} min {} s".format(*divmod(int(row["training_seconds"]), 60)) in page
    (camvid,) = [row for row in rows if row["result"] == "camvid_lightweight_mobilenetv2"]
    assert f"{100 * float(camvid['miou']):.2f} % in 38 minutes" in page
    steps = csv.DictReader((RESULTS / "benchmarks" / "training.csv").open(encoding="utf-8"))
    ours = [step for step in steps if step["variant"] in ("32-true", "bf16-mixed")]
    assert len(ours) == 6
    for step in ours:
        assert f"{float(step['seconds']):.2f} s and {float(step['peak_memory_mb']) / 1000:.1f} GB" in page


@pytest.mark.parametrize(
    ("file", "column", "figures"),
    [
        ("inference", "seconds", ["4.78 s", "0.90 s"]),
        ("exported", "seconds", ["67 ms", "243 ms"]),
        ("input", "images_per_second", ["77 ms", "6.2 ms"]),
        ("evaluation", "seconds", ["3.6 ms"]),
    ],
)
def test_figures_of_the_benchmarks_page(file, column, figures):
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    rows = list(csv.DictReader((RESULTS / "benchmarks" / f"{file}.csv").open(encoding="utf-8")))
    seconds = [float(row[column]) if column == "seconds" else 1 / float(row[column]) for row in rows]
    for figure in figures:
        assert figure in page
        value, unit = figure.split()
        digits = len(value.partition(".")[2])
        assert value in [f"{second * {'s': 1, 'ms': 1000}[unit]:.{digits}f}" for second in seconds]


@pytest.mark.slow
def test_cheapest_study_is_reproduced(rows, tmp_path):
    """One seed of each row, trained again, is where another seed of the committed row would be."""
    file = ROOT / "experiments" / "studies" / "initial_weights_scenes.yaml"
    done = refinenet_process(tmp_path, "study", "run", file, "--only", "seed=0", timeout=3600)
    assert done.returncode == 0, done.stderr[-3000:]
    study = tmp_path / "runs" / "initial_weights_scenes"
    committed = [row for row in rows if row["result"] == "studies/initial_weights_scenes"]
    assert [row["row"] for row in committed] == ["authors", "identity"]
    for row in committed:
        values = [100 * miou for miou in mious(RESULTS / row["result"], f"initial-weights-{row['row']}_seed-*")]
        assert 100 * float(row["miou"]) == pytest.approx(np.mean(values), abs=1e-4)
        (again,) = mious(study, f"initial-weights-{row['row']}_seed-0")
        # The 95 % prediction interval of one more seed, from the deviation between the committed ones.
        reach = scipy.stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) * math.sqrt(1 + 1 / len(values))
        assert abs(100 * again - np.mean(values)) <= max(reach, 1)


def mious(study: Path, cells: str) -> list[float]:
    files = sorted(study.glob(f"{cells}/*/results.json"))
    return [json.loads(file.read_text(encoding="utf-8"))["miou"] for file in files]
