"""Bad studies: keys, names, types and base files that are wrong, and runs of a study that are damaged."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.fake_study import finish, write_study
from helpers.faults import BadInput, check

from refinenet_pl.runs import RunFolder

REPORT = "study report pooling_study.yaml"
SWEEP = "study sweep pooling_study.yaml"
PLAN = "study run pooling_study.yaml --dry-run"
POOLING = {"none": {"model.network.init_args.pooling": None}}
CELL = Path("runs/pooling_study/pooling-none_seed-0/20260101-000000-abcd")
RUN = RunFolder(CELL)


def study(**keys: Any) -> Callable[[Path], object]:
    """Write a study; the keys replace its own."""

    def prepare(folder: Path) -> None:
        path = write_study(folder, levels=("none", "original"))
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | keys))

    return prepare


def without(key: str) -> Callable[[Path], object]:
    def prepare(folder: Path) -> None:
        path = write_study(folder)
        content = yaml.safe_load(path.read_text())
        del content[key]
        path.write_text(yaml.safe_dump(content))

    return prepare


def text(old: str, new: str) -> Callable[[Path], object]:
    """Write a study, and replace a part of its text."""

    def prepare(folder: Path) -> None:
        path = write_study(folder, levels=("none", "original"))
        content = path.read_text()
        assert old in content
        path.write_text(content.replace(old, new))

    return prepare


def finished(change: Callable[[Path], object], **keys: Any) -> Callable[[Path], object]:
    """Finish a study, and change its folder."""

    def prepare(folder: Path) -> None:
        finish(write_study(folder, levels=("none", "original"), **keys), folder / "runs", images=2)
        change(folder)

    return prepare


def write(path: Path, content: str | bytes) -> Callable[[Path], object]:
    return finished(
        lambda folder: (folder / path).write_bytes(content if isinstance(content, bytes) else content.encode())
    )


def change_json(path: Path, **values: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        content = json.loads((folder / path).read_text())
        (folder / path).write_text(json.dumps(content | values))

    return finished(change)


FILE = "pooling_study.yaml"
ROWS = [
    BadInput(
        "unknown key", REPORT, (FILE, "unknown keys: factorss", "expected base, factors"), prepare=study(factorss={})
    ),
    BadInput(
        "key twice",
        REPORT,
        (FILE, "the key 'seeds' is there twice", "delete one"),
        prepare=text("seeds:", "seeds: [7]\nseeds:"),
    ),
    BadInput("number as a key", REPORT, (FILE, "unknown keys: 3"), prepare=text("seeds:", "3: x\nseeds:")),
    BadInput("no base", REPORT, (FILE, "base", "required"), prepare=without("base")),
    BadInput("no factors", REPORT, (FILE, "factors", "required"), prepare=without("factors")),
    BadInput("list of factors", REPORT, (FILE, "factors", "dictionary"), prepare=study(factors=["pooling"])),
    BadInput(
        "factor without levels", REPORT, (FILE, "factor pooling has no levels"), prepare=study(factors={"pooling": {}})
    ),
    BadInput(
        "level that is a value",
        REPORT,
        (FILE, "factors.pooling.none", "found 3"),
        prepare=study(factors={"pooling": {"none": 3}}),
    ),
    BadInput("number as a level", REPORT, (FILE, "factors.chain", "string"), prepare=study(factors={"chain": {1: {}}})),
    BadInput(
        "reserved name", REPORT, (FILE, "cannot be named seed", "rename it"), prepare=study(factors={"seed": POOLING})
    ),
    BadInput("no seeds", REPORT, (FILE, "rows or seeds is empty"), prepare=study(seeds=[])),
    BadInput("seed twice", REPORT, (FILE, "the same row and seed"), prepare=study(seeds=[1, 1])),
    BadInput("seed that is a word", REPORT, (FILE, "seeds.0", "integer", "found one"), prepare=study(seeds=["one"])),
    BadInput(
        "levels of one name",
        REPORT,
        (FILE, "the same row and seed", "pooling-a-b"),
        prepare=study(factors={"pooling": {"a b": {}, "a/b": {}}}),
    ),
    BadInput("row twice", REPORT, (FILE, "the same row and seed"), prepare=study(rows=[{"pooling": "none"}] * 2)),
    BadInput("no rows", REPORT, (FILE, "rows or seeds is empty"), prepare=study(rows=[])),
    BadInput(
        "row of an unknown level",
        REPORT,
        (FILE, "pooling has no level 'nine'", "none, original"),
        prepare=study(rows=[{"pooling": "nine"}]),
    ),
    BadInput(
        "row of an unknown factor",
        REPORT,
        (FILE, "must name one level of each factor"),
        prepare=study(rows=[{"chain": "none"}]),
    ),
    BadInput(
        "override through a value",
        REPORT,
        (FILE, "cannot set model.network.class_path.x", "not a mapping"),
        prepare=study(overrides={"model.network.class_path.x": 1}),
    ),
    BadInput(
        "override past init_args",
        REPORT,
        (FILE, "write model.network.init_args.pooling"),
        prepare=study(overrides={"model.network.pooling": 1}),
    ),
    BadInput("list as overrides", REPORT, (FILE, "overrides", "dictionary"), prepare=study(overrides=["a"])),
    BadInput("missing base", REPORT, (FILE, "base", "nope.yaml"), prepare=study(base="nope.yaml")),
    BadInput(
        "base that is no experiment",
        REPORT,
        (FILE, "base other.yaml: found no model.network.class_path"),
        prepare=study(base="other.yaml"),
        files={"other.yaml": "model: 3\n"},
    ),
    BadInput(
        "base that is a list",
        REPORT,
        (FILE, "other.yaml holds list"),
        prepare=study(base="other.yaml"),
        files={"other.yaml": "- 1\n"},
    ),
    BadInput("size of one number", REPORT, (FILE, "image_size", "found 360"), prepare=study(image_size=360)),
    BadInput(
        "size of nothing",
        REPORT,
        (FILE, "image_size", "[0, 480]", "height and width"),
        prepare=study(image_size=[0, 480]),
    ),
    BadInput("no size", REPORT, (FILE, "image_size is missing"), prepare=without("image_size")),
    BadInput(
        "published value of no row",
        REPORT,
        (FILE, "pooling has no level 'x'"),
        prepare=study(published=[{"levels": {"pooling": "x"}, "value": 1, "source": "s", "evidence": "read"}]),
    ),
    BadInput(
        "published value of no dataset",
        REPORT,
        (FILE, "dataset is 'voc'", "no dataset"),
        prepare=study(
            published=[{"levels": {"pooling": "none"}, "value": 1, "source": "s", "evidence": "read", "dataset": "voc"}]
        ),
    ),
    BadInput(
        "published value without a source",
        REPORT,
        (FILE, "published.0.source", "required"),
        prepare=study(published=[{"levels": {"pooling": "none"}, "value": 1, "evidence": "read"}]),
    ),
    BadInput(
        "dataset with an unknown key",
        REPORT,
        (FILE, "datasets.voc.root", "Unexpected keyword"),
        prepare=study(datasets={"voc": {"base": "base.yaml", "root": "x"}}),
    ),
    BadInput(
        "datasets of one name",
        REPORT,
        (FILE, "the same row and seed"),
        prepare=study(datasets={"a b": {"base": "base.yaml"}, "a/b": {"base": "base.yaml"}}),
    ),
    BadInput("study that is a folder", "study report .", ("Is a directory",), prepare=study()),
    BadInput("no finished cell", REPORT, (FILE, "none of its 4 cells has finished", "--runs"), prepare=study()),
    BadInput(
        "unknown factor to run",
        f"{PLAN} --only chain=3",
        ("--only", "no factor chain", "pooling, seed, row"),
        prepare=study(),
    ),
    BadInput(
        "unknown level to run", f"{PLAN} --only pooling=3", ("--only", "no cell of", "pooling=3"), prepare=study()
    ),
    BadInput("level without a factor", f"{PLAN} --only none", ("--only: found 'none'", "NAME=LEVEL"), prepare=study()),
    BadInput("no devices", f"{PLAN} --devices=0", ("--devices is 0", "expected 1"), prepare=study()),
    BadInput(
        "unknown SLURM parameter",
        "study run pooling_study.yaml --launcher=slurm --slurm minutes",
        ("--slurm", "minutes"),
        prepare=study(),
    ),
    BadInput(
        "factor that no sweep can have",
        SWEEP,
        ("factor 'a b'", "letters, digits"),
        prepare=study(factors={"a b": POOLING}),
    ),
    BadInput(
        "sweep in a folder that is a file",
        f"{SWEEP} --output=base.yaml/s.yaml",
        ("base.yaml is a file", "another --output"),
        prepare=study(),
    ),
    BadInput("sweep in place of the study", f"{SWEEP} --output={FILE}", (FILE, "would be replaced"), prepare=study()),
    BadInput(
        "results that are no JSON",
        REPORT,
        ("abcd/results.json: cannot read it as JSON", "evaluate the run again"),
        prepare=write(RUN.results, "{"),
    ),
    BadInput("results that are a list", REPORT, ("abcd/results.json: holds list",), prepare=write(RUN.results, "[]")),
    BadInput(
        "results without the metric",
        REPORT,
        ("metric miou", "abcd/results.json has no 'miou'"),
        prepare=write(RUN.results, "{}"),
    ),
    BadInput(
        "metric that is text",
        REPORT,
        ("metric miou", "holds str at this key"),
        prepare=change_json(RUN.results, miou="high"),
    ),
    BadInput(
        "metric of several values",
        REPORT,
        ("metric per_class_iou", "append one of road"),
        prepare=finished(lambda folder: None, metric="per_class_iou"),
    ),
    BadInput(
        "versions that are text",
        REPORT,
        ("abcd/results.json: expected dict at the key 'versions'",),
        prepare=change_json(RUN.results, versions="2.6"),
    ),
    BadInput(
        "no matrices",
        REPORT,
        ("abcd/per_image.npz: no such file",),
        prepare=finished(lambda folder: (folder / RUN.per_image).unlink()),
    ),
    BadInput(
        "costs that are text",
        REPORT,
        ("abcd/costs.json: seconds is 'long'", "expected a number"),
        prepare=change_json(RUN.costs, seconds="long"),
    ),
    BadInput(
        "metrics that are no numbers",
        REPORT,
        ("abcd/metrics.csv", "many"),
        prepare=write(RUN.metrics, "step,val/miou\nmany,0.5\n"),
    ),
    BadInput(
        "metrics that are no text",
        REPORT,
        ("abcd/metrics.csv: cannot read the column val/miou",),
        prepare=write(RUN.metrics, b"\xff\xfe\x00step"),
    ),
    BadInput(
        "configuration of a run that is no YAML", REPORT, ("abcd/config.yaml",), prepare=write(RUN.config, "a: [")
    ),
    BadInput(
        "costs of inference that are no numbers",
        REPORT,
        ("inference.csv: seconds of pooling-none is 'fast'", "expected a number"),
        prepare=write(Path("runs/pooling_study/inference.csv"), "row,seconds\npooling-none,fast\n"),
    ),
    BadInput(
        "costs of inference without rows",
        REPORT,
        ("inference.csv: found rows without a value in the column 'row'",),
        prepare=write(Path("runs/pooling_study/inference.csv"), "name,seconds\npooling-none,1\n"),
    ),
    BadInput(
        "report into a file",
        f"{REPORT} --output=base.yaml",
        ("base.yaml is a file", "another --output"),
        prepare=finished(lambda folder: None),
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_bad_study(row, tmp_path, monkeypatch, capsys):
    check(row, {}, tmp_path, monkeypatch, capsys)
