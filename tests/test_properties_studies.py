"""Properties of studies: which cells random factors, datasets and seeds span, and what the configuration of each is."""

import copy
import itertools
import random
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from refinenet_pl.errors import UserError
from refinenet_pl.files import read_yaml
from refinenet_pl.studies.composition import merge, set_value
from refinenet_pl.studies.loading import load_study
from refinenet_pl.studies.study import Study

BASE = {
    "model": {"network": {"class_path": "FullyConvNet", "init_args": {}}},
    "data": {"class_path": "CamVidDataModule", "init_args": {}},
    "trainer": {"logger": {"class_path": "WandbLogger"}},
}
SCALARS = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3)
)
"""What a YAML can hold."""
WORDS = st.sampled_from(["a", "b c", "null", "1e3", "on", "../up", "é", "x_y", "x-y", ".", "~"]) | st.text(
    "ab_-. /", min_size=1, max_size=5
)


def safe(word: str) -> str:
    """What a word is in a file name: other characters than letters of ASCII, digits, dot and plus become a dash."""
    return re.sub(r"[^A-Za-z0-9.+]+", "-", word)


@st.composite
def studies(draw: st.DrawFn) -> dict[str, Any]:
    """The YAML of a study. Each factor sets an option of its own; names stay different in file names."""
    factors: dict[str, dict[str, Any]] = {}
    names = draw(st.lists(WORDS.filter(lambda w: w not in ("dataset", "row", "seed")), max_size=3, unique_by=safe))
    for index, name in enumerate(names):
        levels = draw(st.dictionaries(WORDS, VALUES, min_size=1, max_size=3))
        in_names = {safe(f"{name}-{level}"): level for level in levels}
        factors[name] = {level: {f"data.init_args.option_{index}": levels[level]} for level in in_names.values()}
    content: dict[str, Any] = {"base": "base.yaml", "factors": factors, "image_size": [48, 64]}
    content["seeds"] = draw(st.lists(st.integers(0, 10**6), min_size=1, max_size=3, unique=True))
    content["overrides"] = {"data.init_args.of_all": draw(VALUES)}
    datasets = draw(st.lists(WORDS, max_size=2, unique_by=safe))
    content["datasets"] = {name: {"base": [], "overrides": {"data.init_args.of_dataset": name}} for name in datasets}
    if draw(st.booleans()):
        rows = [dict(zip(factors, row, strict=True)) for row in itertools.product(*factors.values())]
        content["rows"] = draw(st.lists(st.sampled_from(rows), min_size=1, unique_by=str))
    return content


def load(content: dict[str, Any], name: str = "study") -> Study:
    """Write and load a study; its cells are composed before its files are gone."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "base.yaml").write_text(yaml.safe_dump(BASE))
        path = Path(folder, f"{name}.yaml")
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        return load_study(path)


@given(studies())
def test_cells_are_rows_times_seeds_times_datasets(content):
    study = load(content)
    rows = content.get("rows") or [
        dict(zip(content["factors"], row, strict=True)) for row in itertools.product(*content["factors"].values())
    ]
    expected = [(d, s, r) for d in content["datasets"] or [None] for s in content["seeds"] for r in rows]
    assert [(cell.dataset, cell.seed, cell.levels) for cell in study.cells] == expected
    names = [cell.name for cell in study.cells]
    assert len({*names}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9.+_-]+", name) and name.strip(".") for name in names)


@given(studies())
def test_each_cell_has_the_value_of_each_level(content):
    for cell in load(content).cells:
        expected = {
            key: value
            for factor, level in cell.levels.items()
            for key, value in content["factors"][factor][level].items()
        } | {"data.init_args.of_all": content["overrides"]["data.init_args.of_all"]}
        if cell.dataset is not None:
            expected["data.init_args.of_dataset"] = cell.dataset
        assert {f"data.init_args.{key}": value for key, value in cell.config["data"]["init_args"].items()} == expected
        assert cell.config["seed_everything"] == cell.seed
        assert cell.config["model"] == BASE["model"]


@given(studies(), st.randoms(use_true_random=False))
@example({"base": "base.yaml", "factors": {"a": {"x": {}}, "b": {"y": {}}}, "rows": [{"b": "y", "a": "x"}]}, None)
def test_order_of_keys_does_not_matter(content, generator):
    content = {"image_size": [48, 64]} | content
    study = load(content)
    keys = [*content]
    (generator or random.Random(0)).shuffle(keys)
    other = {key: content[key] for key in keys}
    if "rows" in content:
        other["rows"] = [dict(reversed(row.items())) for row in content["rows"]]
    names = [cell.name for cell in study.cells]
    assert names[0].startswith("_".join(map(safe, [*content.get("datasets", {})][:1])))
    assert [(cell.name, cell.config) for cell in load(other).cells] == [(c.name, c.config) for c in study.cells]
    assert all(list(cell.levels) == list(content["factors"]) for cell in load(other).cells)


@given(studies().filter(lambda content: "rows" in content and len(content["factors"]) > 1))
def test_a_row_is_refused_twice_however_it_is_written(content):
    rows = [*content["rows"], dict(reversed(content["rows"][0].items()))]
    with pytest.raises(UserError, match="cells with the same row and seed"):
        load({**content, "rows": rows})


@given(studies())
def test_cells_survive_their_yaml(content):
    with tempfile.TemporaryDirectory() as folder:
        for cell in load(content).cells:
            file = Path(folder, "cell.yaml")
            file.write_text(yaml.safe_dump(cell.config, sort_keys=False), encoding="utf-8")
            assert read_yaml(file, "cell") == cell.config


@given(studies(), st.booleans())
def test_cells_that_differ_in_inference_share_a_training(content, flips):
    levels = {"once": {}, "both": {"model.inference.flip": True}} if flips else {"once": {}}
    content["factors"] = {**content["factors"], "inference": levels}
    content.pop("rows", None)
    study = load(content)
    trainings = [(c.config["seed_everything"], c.config["data"]) for c in study.cells]
    expected = [training for index, training in enumerate(trainings) if training not in trainings[:index]]
    groups = [[(c.config["seed_everything"], c.config["data"]) for c in group] for group in study.cell_groups]
    assert [group[0] for group in groups] == expected
    assert all(training == group[0] for group in groups for training in group)
    assert sorted(cell.name for group in study.cell_groups for cell in group) == sorted(c.name for c in study.cells)


def leaves(value: Any, prefix: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """The values in nested mappings by their path; an empty mapping is a value."""
    if not isinstance(value, dict) or (not value and prefix):
        return {prefix: value}
    return {path: leaf for name, inner in value.items() for path, leaf in leaves(inner, (*prefix, name)).items()}


TREES = st.dictionaries(
    st.sampled_from("abc"),
    st.recursive(
        st.integers() | st.lists(st.integers(), max_size=2),
        lambda inner: st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3),
        max_leaves=8,
    ),
    min_size=1,
)


def on_one_way(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return all(a == b for a, b in zip(one, other, strict=False))


@given(TREES, TREES)
def test_merging_keeps_what_the_later_file_does_not_name(first, second):
    before, merged = leaves(second), copy.deepcopy(first)
    merge(merged, second)
    untouched = {path: leaf for path, leaf in leaves(first).items() if not any(on_one_way(path, p) for p in before)}
    assert leaves(merged) == untouched | before
    assert leaves(second) == before


@given(TREES, st.lists(st.sampled_from("abc"), min_size=1, max_size=4), st.integers())
def test_setting_a_value_changes_its_key_alone(tree, path, value):
    before = leaves(tree)
    on_the_way = [place for place in before if len(place) < len(path) and on_one_way(place, tuple(path))]
    if on_the_way:
        with pytest.raises(UserError, match="not a mapping"):
            set_value(tree, ".".join(path), value, Path("study.yaml"))
        return
    set_value(tree, ".".join(path), value, Path("study.yaml"))
    kept = {place: leaf for place, leaf in before.items() if not on_one_way(place, tuple(path))}
    assert leaves(tree) == kept | {tuple(path): value}
