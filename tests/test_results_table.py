"""The table of all committed results, against the files that it is made from."""

import csv
import json
import runpy
from pathlib import Path

import pytest

RESULTS = Path(__file__).parent.parent / "results"


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
