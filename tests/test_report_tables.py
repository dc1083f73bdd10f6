"""A study's tables: Markdown and CSV read back and counted anew, LaTeX by its structure."""

import csv
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from helpers.fake_study import CLASSES, finish, write_study
from refinenet_pl.reports.documents import comma_separated, escaped, latex, markdown

from refinenet_pl.reports.report import report
from refinenet_pl.reports.summary import Summary, summarize_study

PUBLISHED = [
    {"levels": {"pooling": "none"}, "value": 40.4, "source": "A & B, table_5", "verified": True},
    {"levels": {"pooling": "50 % [of it]"}, "value": 42.5, "source": "Remembered", "verified": False},
]
LEVELS = ("none", "50 % [of it]", "a|b & c_d")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def summary(folder) -> Summary:
    path = write_study(folder, LEVELS, published=PUBLISHED, title="Pooling: 100 % of it_all")
    return summarize_study(finish(path, folder / "runs", unfinished=["pooling-none_seed-1"]), folder / "runs")


def markdown_tables(text: str) -> list[list[dict[str, str]]]:
    tables = []
    for block in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        first, _, *rows = [re.split(r" (?<!\\)\| ", line[2:-2]) for line in block.splitlines()]
        tables.append([dict(zip(first, row, strict=True)) for row in rows])
    return tables


def mious(folder, row: str) -> list[float]:
    files = sorted((folder / "runs").glob(f"pooling_study/pooling-{row}_seed-*/*/results.json"))
    return [json.loads(path.read_text())["miou"] for path in files]


def test_markdown_says_per_cent_points_intervals_and_costs_in_their_units(summary, folder):
    rows, _ = markdown_tables(markdown(summary))
    assert [row["pooling"] for row in rows] == ["none", "50 % [of it]", "a\\|b & c_d"]
    values, base = (np.array(mious(folder, name)) for name in ("a-b-c-d", "none"))
    third = rows[2]
    assert third["mean IoU %"] == f"{100 * values.mean():.2f} ± {100 * values.std(ddof=1):.2f}"
    assert rows[0]["mean IoU %"] == f"{100 * base[0]:.2f}"
    points, low, high = map(float, re.findall(r"[+-]?\d+\.\d\d", third["difference"].replace("−", "-")))
    assert points == pytest.approx(100 * (values.mean() - base.mean()), abs=0.005)
    assert low < points < high
    assert (third["difference"].find("*") > 0) == (low > 0)
    assert [row["seeds"] for row in rows] == ["0 (1 of 2)", "0, 1", "0, 1"]
    costs = [third[name] for name in ("parameters, M", "GFLOPs", "latency, ms", "inference, MB", "training time")]
    assert costs == ["3.30", "11.2", "375", "400", "1 h 05 min"]


def test_a_published_figure_refers_to_its_source_and_says_when_it_is_recalled(summary, folder):
    text = markdown(summary)
    rows, _ = markdown_tables(text)
    assert [row["published %"] for row in rows] == ["40.40 [1]", "42.50 [2] recalled, unverified", "–"]
    ours = 100 * mious(folder, "none")[0] - 40.4
    assert float(rows[0]["ours − published"].replace("−", "-")) == pytest.approx(ours, abs=0.006)
    assert "[1] A & B, table_5" in text
    assert "[2] Remembered" in text


def test_the_table_of_classes_marks_the_differences_whose_interval_excludes_zero(summary):
    _, rows = markdown_tables(markdown(summary))
    assert [row["class"] for row in rows] == [*CLASSES, "mean IoU"]
    compared = summary.rows[2].compared
    for row, name in zip(rows, CLASSES, strict=False):
        cell, expected = row["a\\|b & c_d"], compared["per_class_iou"][name]
        if expected["difference"] is None:
            assert cell == "–"
            continue
        low, high = expected["interval"]
        star = "*" if low > 0 or high < 0 else ""
        points = f"{100 * expected['difference']:+.2f}".replace("-", "−")
        assert cell == f"{100 * expected['b']:.2f} ({points}{star})"


def test_words_say_what_is_missing_and_what_intervals_are_of(summary):
    text = markdown(summary)
    assert "Missing: pooling-none_seed-1 (not begun)." in text
    assert "Every finished run was configured as the study says." in text
    assert "on 20 validation images" in text
    assert "It says nothing of other seeds" in text
    assert "torch 2.6, device abacus" in text


def test_columns_in_which_there_is_nothing_are_left_out_of_the_document_but_not_of_the_csv(tmp_path):
    study = finish(write_study(tmp_path, seeds=[3]), tmp_path / "runs", images=3)
    (tmp_path / "runs" / study.name / "inference.csv").unlink()
    bare = summarize_study(study, tmp_path / "runs")
    for text in (markdown(bare), latex(bare)):
        assert "published" not in text
        assert "latency" not in text
    assert "finished" not in latex(bare)
    header = comma_separated(bare).splitlines()[0].split(",")
    assert {"published", "latency", "gflops"} <= set(header)
    assert "seed 3 alone" in markdown(bare)
    assert "±" not in markdown(bare)


def test_csv_has_full_precision(summary, folder):
    rows = list(csv.DictReader(io.StringIO(comma_separated(summary))))
    assert [row["pooling"] for row in rows] == list(LEVELS)
    values = mious(folder, "a-b-c-d")
    assert float(rows[2]["mean"]) == np.mean(values)
    assert list(map(float, rows[2]["values"].split(", "))) == values
    assert float(rows[2]["difference"]) == pytest.approx(np.mean(values) - mious(folder, "none")[0], abs=1e-15)
    assert [rows[2]["difference_low"], rows[2]["difference_high"]] == list(map(str, summary.rows[2].interval("miou")))
    assert float(rows[0]["published"]) == pytest.approx(0.404, abs=1e-15)
    assert [row["published_verified"] for row in rows] == ["True", "False", ""]
    assert (float(rows[1]["latency"]), float(rows[1]["training_time"])) == (0.25, 3900)
    assert float(rows[2]["iou car"]) == summary.rows[2].scores.iou[1]
    assert rows[2]["iou traffic light"] == ""


def test_latex_is_balanced_and_every_row_has_as_many_cells_as_there_are_columns(summary):
    text = latex(summary)
    assert text.count("\\begin{") == text.count("\\end{") == 2
    plain = text.replace("\\{", "").replace("\\}", "")
    assert plain.count("{") == plain.count("}")
    columns = re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)
    assert columns
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 1 + len(LEVELS)
    assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {len(columns[1])}
    for line in text.splitlines()[1:]:
        assert not re.search(r"(?<!\\)[%#_]", line)
    assert "Pooling: 100 \\% of it\\_all" in text
    assert "a|b \\& c\\_d" in text
    assert not any(row.lstrip().startswith("[") for row in rows)  # which would be an argument of the last row's end


def test_latex_takes_the_table(summary, tmp_path):
    if not shutil.which("pdflatex"):
        pytest.skip("pdflatex is not installed")
    packages = "\\usepackage[utf8]{inputenc}\n\\usepackage{booktabs, graphicx}"
    document = (
        f"\\documentclass[twocolumn]{{article}}\n{packages}\n\\begin{{document}}\n{latex(summary)}\\end{{document}}"
    )
    (tmp_path / "paper.tex").write_text(document)
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert "Output written on paper.pdf (1 page" in done.stdout


def test_every_special_character_of_latex_is_escaped():
    assert escaped("a\\b ~^ {x} $1 #2 [3] − –") == (
        "a\\textbackslash{}b \\textasciitilde{}\\textasciicircum{} \\{x\\} \\$1 \\#2 {[}3{]} $-$ --"
    )


def test_the_report_of_results_alone_has_every_file_and_says_why_there_are_no_predictions(folder, summary, capsys):
    report(summary.study.path, folder / "runs")
    made = folder / "runs" / "pooling_study" / "report"
    plots = {f"{name}.{kind}" for name in PLOTS for kind in ("png", "pdf")}
    assert {path.name for path in made.iterdir()} == {f"report.{kind}" for kind in ("md", "csv", "tex", "html")} | plots
    assert (made / "report.csv").read_text() == comma_separated(summary)
    assert all(f"]({name}.png)" in (made / "report.md").read_text() for name in PLOTS)
    printed = capsys.readouterr().out
    assert "the page shows no predictions" in printed
    assert "Missing: pooling-none_seed-1" in printed
    assert f"{made}/report.html" in printed


PLOTS = ("learning_curves", "class_differences", "accuracy_latency")
