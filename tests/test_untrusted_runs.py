"""Reports of run folders that somebody else made: no code runs, and names stay text in every format."""

import csv
import io
import json
import re
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers.commands import refinenet
from helpers.fake_study import finish, write_study
from helpers.unsafe import NETWORK_MODULE, TOUCH, touch
from PIL import Image

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.studies.folders import cell_folder
from refinenet_pl.studies.loading import load_study
from refinenet_pl.studies.measure import inference_file, measure_inference
from refinenet_pl.text import markdown_text

LEVELS = ("=cmd|' /C calc'!A0", "<script>alert(1)</script>", r"\input{/etc/passwd} $x^{ `%")
CLASSES = ("@SUM(1)", "</script><img src=x onerror=alert(1)>", "![x](http://stranger/a.png) | _$", "-2")


def study_of_strangers(folder: Path, data: dict[str, Any]) -> tuple[Path, Path]:
    """Write a finished study, whose runs name other data than the study; return its file and its runs."""
    path, runs = write_study(folder), folder / "runs"
    study = finish(path, runs, images=3)
    for cell in study.cells:
        run = cell_folder(runs, study, cell).finished
        assert run is not None
        run.config.write_text(yaml.safe_dump(run.read_config() | {"data": data}))
        (run.predictions / "masks").mkdir(parents=True)
        for name in ("image_000", "image_001", "image_002"):
            Image.new("P", (8, 8)).save(run.predictions / "masks" / f"{name}.png")
    return path, runs


def test_report_builds_no_unknown_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    path, runs = study_of_strangers(tmp_path, touch(tmp_path / "victim"))
    assert refinenet(monkeypatch, "study", "report", path, "--runs", runs) == 0
    assert f"The page shows no images: {runs}" in (words := capsys.readouterr().out)
    assert f"data is {TOUCH}" in words
    assert not (tmp_path / "victim").exists()
    assert TOUCH in (runs / "pooling_study" / "report" / "report.html").read_text()


def test_report_of_runs_builds_no_unknown_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    path, runs = study_of_strangers(tmp_path, touch(tmp_path / "victim"))
    run = cell_folder(runs, load_study(path), load_study(path).cells[0]).finished
    assert run is not None
    run.checkpoints.mkdir()
    run.best_checkpoint.write_bytes(b"a checkpoint")
    assert refinenet(monkeypatch, "report", run.path, "--output", tmp_path / "report") == 0
    assert f"data is {TOUCH}" in capsys.readouterr().out
    assert not (tmp_path / "victim").exists()


def test_report_with_trust_builds_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"own_{time.time_ns()}"
    (tmp_path / f"{name}.py").write_text(NETWORK_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    path, runs = study_of_strangers(tmp_path, {"class_path": f"{name}.Network", "init_args": {"nothing": 1}})
    assert refinenet(monkeypatch, "study", "report", path, "--runs", runs) == 0
    assert not (tmp_path / "imported").exists()
    assert refinenet(monkeypatch, "study", "report", path, "--runs", runs, "--trust") == 0
    assert (tmp_path / "imported").exists()


def test_benchmark_builds_no_unknown_network(tmp_path: Path) -> None:
    path, runs = write_study(tmp_path), tmp_path / "runs"
    study = finish(path, runs, images=2)
    inference_file(study, runs).unlink()
    run = cell_folder(runs, study, study.cells[0]).finished
    assert run is not None
    run.config.write_text(yaml.safe_dump({"model": {"network": touch(tmp_path / "victim"), "inference": {}}}))
    with pytest.raises(UserError, match=r"model\.network is subprocess\.Popen"):
        measure_inference(study, runs)
    assert not (tmp_path / "victim").exists()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the report of a study whose names are code in some format."""
    folder = tmp_path_factory.mktemp("names")
    path = write_study(folder, LEVELS, title=" ".join(LEVELS), seeds=[0])
    finish(path, folder / "runs", CLASSES, images=4)
    with pytest.MonkeyPatch.context() as patch:
        assert refinenet(patch, "study", "report", path, "--runs", folder / "runs") == 0
    return folder / "runs" / "pooling_study" / "report"


def test_names_are_text_in_html(report: Path) -> None:
    text = (report / "report.html").read_text()
    assert text.count("</script>") == text.count("<script") == 2
    assert "<img src=x" not in text
    content = json.loads(re.findall(r'<script id="content"[^>]*>(.*?)</script>', text, re.DOTALL)[0])
    assert content["datasets"][0]["classes"] == list(CLASSES)
    assert content["table"][0]["cells"] == list(LEVELS)


def test_names_are_text_in_markdown(report: Path) -> None:
    text = (report / "report.md").read_text()
    assert not re.search(r"(?<!\\)<", text)
    assert not re.search(r"(?<!\\)\]\(http", text)
    tables = [line for line in text.splitlines() if line.startswith("|")]
    # Rows of one table have one number of cells: no name adds a column.
    assert len({len(re.split(r"(?<!\\)\|", line)) for line in tables[: 2 + len(LEVELS)]}) == 1


def test_names_are_text_in_spreadsheets(report: Path) -> None:
    rows = list(csv.reader(io.StringIO((report / "report.csv").read_text())))
    cells = [cell for row in rows for cell in row]
    assert f"'{LEVELS[0]}" in cells
    for cell in cells:
        assert cell[:1] not in "=+@-" or not cell or float(cell) < 0


def test_names_are_text_in_latex(report: Path) -> None:
    text = (report / "report.tex").read_text()
    assert r"\input" not in text
    assert r"\textbackslash{}input\{/etc/passwd\} \$x\textasciicircum{}\{" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a | b", r"a \| b"),
        ("a\n\n# b", "a # b"),
        ("<b>", r"\<b>"),
        ("[x](y)", r"[x\](y)"),
        ("[x]: y", r"[x\]: y"),
        ("[1] Lin", "[1] Lin"),
        ("&lt; R&D", r"\&lt; R&D"),
        ("`\\", r"\`\\"),
    ],
)
def test_markdown_text(text: str, expected: str) -> None:
    assert markdown_text(text) == expected


def write_npz(path: Path, **arrays: Any) -> Path:
    """Write a file as `ImageMatrices.save` does, with other arrays."""
    column = np.zeros(1, np.int64)
    columns = dict.fromkeys(("image", "true", "predicted", "pixels"), column)
    names = {"class_names": np.array(["a"]), "names": np.array(["x"])}
    np.savez_compressed(path, **(names | columns | arrays))
    return path


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"names": np.array(["../../x"])}, "outside"),
        ({"names": np.array(["/etc/x"])}, "outside"),
        ({"names": np.array([{}], dtype=object)}, "allow_pickle"),
        ({"class_names": np.array([f"{index}" for index in range(5000)])}, "5000 classes"),
        ({"pixels": np.array([0.5])}, "float64"),
    ],
)
def test_unusual_npz_is_refused(arrays: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        ImageMatrices.load(write_npz(tmp_path / "a.npz", **arrays))


def test_npz_with_a_false_size_is_refused(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "a.npz")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i8", "fortran_order": False, "shape": (2**40,)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.npy", header.getvalue())
    with pytest.raises(UserError, match="larger than the file"):
        ImageMatrices.load(path)


def test_npz_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "a.npz")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("more.npy", "w") as file:
        for _ in range(17):
            file.write(bytes(2**26))
    assert path.stat().st_size < 2**21
    with pytest.raises(UserError, match="bytes of arrays; expected at most"):
        ImageMatrices.load(path)


def test_compare_reads_arrays_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    path = write_npz(tmp_path / "per_image.npz", names=np.array([{}], dtype=object))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data": touch(tmp_path / "victim")}))
    assert refinenet(monkeypatch, "compare", tmp_path, tmp_path) == 2
    assert str(path) in capsys.readouterr().err
    assert not (tmp_path / "victim").exists()
