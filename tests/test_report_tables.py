"""Tables of studies: Markdown and CSV are read back; LaTeX is compiled if it is installed."""

import csv
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from helpers.fake_study import CLASSES, finish, write_study

from refinenet_pl.reports.assemble import Report, assemble
from refinenet_pl.reports.csv_table import csv_table
from refinenet_pl.reports.latex import escape, latex
from refinenet_pl.reports.markdown import markdown
from refinenet_pl.reports.report import report
from refinenet_pl.reports.study_summary import summarize_study
from refinenet_pl.reports.summary import Summary
from refinenet_pl.studies.loading import load_study
from refinenet_pl.studies.study import Study

PUBLISHED = [
    {"levels": {"pooling": "none"}, "value": 40.4, "source": "A & B, table_5", "evidence": "read"},
    {"levels": {"pooling": "50 % [of it]"}, "value": 42.5, "source": "Remembered", "evidence": "recalled"},
]
LEVELS = ("none", "50 % [of it]", "a|b & c_d")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def study(folder) -> Study:
    path = write_study(folder, LEVELS, published=PUBLISHED, title="Pooling: 100 % of it_all")
    return finish(path, folder / "runs", unfinished=["pooling-none_seed-1"])


@pytest.fixture(scope="module")
def summary(study, folder) -> Summary:
    return summarize_study(study, folder / "runs")


@pytest.fixture(scope="module")
def assembled(summary) -> Report:
    return assemble(summary)


def markdown_tables(text: str) -> list[list[dict[str, str]]]:
    tables = []
    for block in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        first, _, *rows = [re.split(r" (?<!\\)\| ", line[2:-2]) for line in block.splitlines()]
        tables.append([dict(zip(first, row, strict=True)) for row in rows])
    return tables


def mious(folder, row: str) -> list[float]:
    files = sorted((folder / "runs").glob(f"pooling_study/pooling-{row}_seed-*/*/results.json"))
    return [json.loads(path.read_text())["miou"] for path in files]


def test_markdown_values_and_units(summary, assembled, folder):
    rows, _ = markdown_tables(markdown(assembled))
    assert [row["pooling"] for row in rows] == ["none", "50 % [of it]", "a\\|b & c_d"]
    values, base = (np.array(mious(folder, name)) for name in ("a-b-c-d", "none"))
    third = rows[2]
    assert third["mean IoU %"] == f"{100 * values.mean():.2f} ± {100 * values.std(ddof=1):.2f}"
    assert rows[0]["mean IoU %"] == f"{100 * base[0]:.2f}"
    points, low, high = map(float, re.findall(r"[+-]?\d+\.\d\d", third["difference"].replace("−", "-")))
    assert points == pytest.approx(100 * (values.mean() - base.mean()), abs=0.005)
    assert low < points < high
    assert "*" not in third["difference"], "the base row has one seed"
    assert [row["seeds"] for row in rows] == ["0 (1 of 2)", "0, 1", "0, 1"]
    costs = [third[name] for name in ("parameters, M", "GFLOPs", "latency, ms", "inference, MB", "training time")]
    assert costs == ["3.30", "11.2", "375", "400", "1 h 05 min"]


def test_published_values_name_sources(summary, assembled, folder):
    text = markdown(assembled)
    rows, _ = markdown_tables(text)
    assert [row["published %"] for row in rows] == ["40.40 [1]", "42.50 [2] recalled", "–"]
    ours = 100 * mious(folder, "none")[0] - 40.4
    assert float(rows[0]["ours − published"].replace("−", "-")) == pytest.approx(ours, abs=0.006)
    assert "[1] A & B, table_5" in text
    assert "[2] Remembered" in text


def test_class_table_marks_differences(summary, assembled):
    _, rows = markdown_tables(markdown(assembled))
    assert [row["class"] for row in rows] == [*CLASSES, "mean IoU"]
    dataset = summary.datasets[0]
    row_c = dataset.rows[2]
    compared = row_c.compared.as_dict()
    for row, name in zip(rows, CLASSES, strict=False):
        cell, expected = row["a\\|b & c_d"], compared["per_class_iou"][name]
        if expected["difference"] is None:
            assert cell == "–"
            continue
        star = "*" if dataset.is_marked(row_c, f"per_class_iou.{name}") else ""
        points = f"{100 * expected['difference']:+.2f}".replace("-", "−")
        assert cell == f"{100 * expected['b']:.2f} ({points}{star})"


def test_notes_and_warnings(summary, assembled):
    text = markdown(assembled)
    assert "Missing: pooling-none_seed-1 (not started)." in text
    assert "All finished runs have the configuration of the study." in text
    assert "on 20 validation images" in text
    assert "Intervals over images alone: 95 %." in text
    assert "The intervals count 20 independent images." in text
    assert "torch 2.6, device abacus" in text


def test_seeds_of_all_rows_give_stars(tmp_path):
    study = finish(write_study(tmp_path, seeds=[0, 1, 2]), tmp_path / "runs", images=60)
    text = markdown(assemble(summarize_study(study, tmp_path / "runs")))
    rows, _ = markdown_tables(text)
    assert ["*" in row["difference"] for row in rows] == [False, False, True], "the third row is better by 20 points"
    assert 0 <= float(rows[2]["due to seeds, %"]) <= 100
    assert "Intervals over seeds and images: 95 %." in text
    assert "adjusted for the number of rows that are compared with the base row (Holm)" in text


def test_empty_columns_only_in_csv(tmp_path):
    study = finish(write_study(tmp_path, seeds=[3]), tmp_path / "runs", images=3)
    (tmp_path / "runs" / study.name / "inference.csv").unlink()
    bare = assemble(summarize_study(study, tmp_path / "runs"))
    for text in (markdown(bare), latex(bare)):
        assert "published" not in text
        assert "latency" not in text
    assert "finished" not in latex(bare)
    header = csv_table(bare).splitlines()[0].split(",")
    assert {"published", "latency", "gflops"} <= set(header)
    assert "seed 3 only" in markdown(bare)
    assert "±" not in markdown(bare)
    assert "over images alone, not over seeds" in markdown(bare)
    assert "*" not in "".join(row["difference"] for row in markdown_tables(markdown(bare))[0])


def test_csv_has_full_precision(summary, assembled, folder):
    rows = list(csv.DictReader(io.StringIO(csv_table(assembled))))
    assert [row["pooling"] for row in rows] == list(LEVELS)
    values = mious(folder, "a-b-c-d")
    assert float(rows[2]["mean"]) == np.mean(values)
    assert list(map(float, rows[2]["values"].split(", "))) == values
    assert float(rows[2]["difference"]) == pytest.approx(np.mean(values) - mious(folder, "none")[0], abs=1e-15)
    assert [rows[2]["difference_low"], rows[2]["difference_high"]] == list(
        map(str, summary.datasets[0].rows[2].difference_interval("miou"))
    )
    assert float(rows[0]["published"]) == pytest.approx(0.404, abs=1e-15)
    assert [row["published_evidence"] for row in rows] == ["read", "recalled", ""]
    assert (float(rows[1]["latency"]), float(rows[1]["training_time"])) == (0.25, 3900)
    assert float(rows[2]["iou car"]) == summary.datasets[0].rows[2].scores.iou[1]
    assert rows[2]["iou traffic light"] == ""


def test_latex_structure(summary, assembled):
    text = latex(assembled)
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
    assert not any(row.lstrip().startswith("[") for row in rows)


def test_latex_compiles(assembled, tmp_path):
    if not shutil.which("pdflatex"):
        pytest.skip("pdflatex is not installed")
    packages = "\\usepackage[utf8]{inputenc}\n\\usepackage{booktabs, graphicx, xcolor}"
    document = (
        f"\\documentclass[twocolumn]{{article}}\n{packages}\n\\begin{{document}}\n{latex(assembled)}\\end{{document}}"
    )
    (tmp_path / "paper.tex").write_text(document)
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert "Output written on paper.pdf (1 page" in done.stdout


def test_latex_escapes():
    assert escape("a\\b ~^ {x} $1 #2 [3] − –") == (
        "a\\textbackslash{}b \\textasciitilde{}\\textasciicircum{} \\{x\\} \\$1 \\#2 {[}3{]} $-$ --"
    )


def test_report_files_without_predictions(folder, study, assembled, capsys):
    report(study.path, folder / "runs")
    output = folder / "runs" / "pooling_study" / "report"
    plots = {
        f"{name}.{kind}"
        for name in (*PLOTS, "class_differences_column", "confusion_matrices_column")
        for kind in ("png", "pdf")
    }
    assert {path.name for path in output.iterdir()} == {
        f"report.{kind}" for kind in ("md", "csv", "tex", "html")
    } | plots
    assert (output / "report.csv").read_text() == csv_table(assembled)
    assert all(f"]({name}.png)" in (output / "report.md").read_text() for name in PLOTS)
    printed = capsys.readouterr().out
    assert "60 predictions are missing (20 images, 3 checkpoints)" in printed
    assert "Missing: pooling-none_seed-1" in printed
    assert f"{output}/report.html" in printed


PLOTS = ("learning_curves", "class_differences", "accuracy_latency", "confusion_matrices")


def test_column_group_per_dataset(tmp_path, capsys):
    path = write_study(tmp_path, LEVELS, datasets=["camvid", "voc", "nyudv2"])
    unfinished = [cell.name for cell in load_study(path).cells if cell.dataset == "nyudv2"]
    study = finish(path, tmp_path / "runs", images=5, unfinished=unfinished)
    output = tmp_path / "report"
    report(path, tmp_path / "runs", output)
    text = (output / "report.md").read_text()
    rows, costs, *class_tables = markdown_tables(text)
    assert [row["pooling"] for row in rows] == ["none", "50 % [of it]", "a\\|b & c_d"]
    assert len(class_tables) == 2
    records = list(csv.DictReader((output / "report.csv").open()))
    for name in ("camvid", "voc"):
        files = (tmp_path / "runs" / study.name).glob(f"{name}_pooling-a-b-c-d_seed-*/*/results.json")
        mean = np.mean([json.loads(file.read_text())["miou"] for file in files])
        assert rows[2][f"{name}: mean IoU %"].startswith(f"{100 * mean:.2f} ±")
        assert costs[2][f"{name}: parameters, M"] == "3.30"
        assert float(records[2][f"{name}: mean"]) == pytest.approx(mean)
        assert all((output / f"{plot}_{name}.{kind}").is_file() for plot in PLOTS for kind in ("png", "pdf"))
        assert f"](class_differences_{name}.png)" in text
    differences = [float(records[2][f"{name}: difference"]) for name in ("camvid", "voc")]
    assert float(records[2]["mean_difference"]) == pytest.approx(np.mean(differences))
    low, high = (float(records[2][f"mean_difference_{end}"]) for end in ("low", "high"))
    assert low < np.mean(differences) < high
    assert rows[0]["All datasets: mean difference"] == "–"
    assert rows[2]["All datasets: mean difference"].startswith(f"{100 * np.mean(differences):+.2f}".replace("-", "−"))
    assert not any("nyudv2" in title for title in [*rows[0], *costs[0], *records[0]])
    tex = (output / "report.tex").read_text()
    assert r"\multicolumn{6}{c}{camvid} & \multicolumn{6}{c}{voc} & \multicolumn{1}{c}{All datasets}" in tex
    assert r"\cmidrule(lr){2-7}" in tex
    assert r"\multicolumn{6}{c}{camvid} & \multicolumn{6}{c}{voc}" in tex
    assert r"\label{tab:pooling-study-costs}" in tex
    assert "Missing dataset: nyudv2 (0 of 6 cells finished)." in capsys.readouterr().out
