"""Division of samples into splits and folds."""

import numpy as np
import pytest
import pytorch_lightning as pl
from helpers.fake_data import make_camvid
from helpers.tiny_fit import tiny_task, tiny_trainer
from hypothesis import given
from hypothesis import strategies as st

from refinenet_pl.data import CamVidDataModule
from refinenet_pl.data.presence import presence
from refinenet_pl.data.splits import Split, divide, halves_of
from refinenet_pl.errors import UserError

NAMES = [f"{index:03}" for index in range(100)]


def rare_classes(count: int = 100) -> np.ndarray:
    """Classes that 80 %, 30 % and 10 % of the samples contain."""
    return np.random.default_rng(0).random((count, 3)) < (0.8, 0.3, 0.1)


def test_sizes_are_the_fractions():
    parts = divide(NAMES, rare_classes(), Split(fractions=[0.7, 0.2, 0.1]))
    assert np.bincount(parts).tolist() == [70, 20, 10]


def test_classes_are_spread():
    presence = rare_classes()
    parts = np.array(divide(NAMES, presence, Split(folds=5, fold=0)))
    for part in range(5):
        assert np.abs(presence[parts == part].sum(0) - presence.sum(0) / 5).max() <= 1
    unstratified = np.array(divide(NAMES, presence[:, :0], Split(folds=5, fold=0, stratify=False)))
    spread = [np.abs(presence[unstratified == part].sum(0) - presence.sum(0) / 5).max() for part in range(5)]
    assert max(spread) > 1  # so that the check above could fail


def test_seed_chooses_the_division():
    first, again, other = (divide(NAMES, rare_classes(), Split(fractions=[0.5, 0.5], seed=seed)) for seed in (1, 1, 2))
    assert first == again != other


def test_groups_stay_together():
    names = [f"drive{index % 7}_{index:03}" for index in range(100)]
    for groups in (r"^drive\d", r"drive(\d)_"):
        parts = divide(names, rare_classes(), Split(folds=3, fold=1, groups=groups))
        assert len({(name[:6], part) for name, part in zip(names, parts, strict=True)}) == 7
        assert {*parts} == {0, 1, 2}


@given(
    st.integers(2, 30).flatmap(lambda count: st.tuples(st.just(count), st.integers(2, min(6, count)))),
    st.integers(0, 2**32),
    st.integers(0, 4),
)
def test_folds_cover_all_samples_once(counts, seed, num_classes):
    samples, folds = counts
    names = [str(index) for index in range(samples)]
    found = np.random.default_rng(seed).random((samples, num_classes)) < 0.3
    parts = divide(names, found, Split(folds=folds, fold=0, seed=seed))
    sizes = np.bincount(parts, minlength=folds)
    assert sizes.sum() == samples
    assert sizes.min() >= samples // folds > 0
    assert sizes.max() <= -(-samples // folds)


@given(st.lists(st.integers(1, 9), min_size=3, max_size=12), st.integers(0, 1000))
def test_no_part_is_empty(sizes, seed):
    names = [f"{group}-{index}" for group, size in enumerate(sizes) for index in range(size)]
    split = Split(fractions=[0.8, 0.1, 0.1], groups=r"^\d+", seed=seed)
    assert {*divide(names, np.zeros((len(names), 0), bool), split)} == {0, 1, 2}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "expected either fractions"),
        ({"fractions": [0.8, 0.2], "folds": 2}, "expected either fractions"),
        ({"fractions": [0.8, 0.1]}, r"fractions: found \[0.8, 0.1\]; .*sum is 1"),
        ({"fractions": [1.0]}, "two or three fractions"),
        ({"folds": 5}, "found fold None of 5"),
        ({"folds": 5, "fold": 5}, r"fold 5 of 5 folds; expected .* 0\.\.folds - 1"),
        ({"folds": 1, "fold": 0}, "at least 2 folds"),
        ({"fractions": [0.5, 0.5], "groups": "("}, "not a regular expression"),
    ],
)
def test_impossible_splits_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        Split(**options)


@pytest.mark.parametrize(
    ("groups", "words"), [(None, "1 samples cannot be divided into 2 parts"), ("x", "'x' is not found in the name 'a'")]
)
def test_impossible_divisions_are_refused(groups, words):
    with pytest.raises(UserError, match=words):
        divide(["a"], np.ones((1, 1), bool), Split(folds=2, fold=0, groups=groups))


def names(data: CamVidDataModule, split: str) -> set[str]:
    return {sample.name for sample in data.dataset(split).samples}


def test_folds_of_a_dataset(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    make_camvid(tmp_path / "camvid", train=7)
    folds = [CamVidDataModule(tmp_path / "camvid", split=Split(folds=3, fold=fold)) for fold in range(3)]
    train = [f"train_{index}" for index in range(7)]
    assert sorted(name for data in folds for name in names(data, "val")) == train
    assert all(names(data, "train") == {*train} - names(data, "val") for data in folds)
    assert names(folds[0], "test") == {"test_0", "test_1"}  # the dataset's own
    own = CamVidDataModule(tmp_path / "camvid", split=Split(fractions=[0.5, 0.3, 0.2]))
    assert [len(names(own, split)) for split in ("train", "val", "test")] == [4, 2, 1]


def test_presence_is_read_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    dataset = CamVidDataModule(make_camvid(tmp_path / "camvid")).dataset("train")
    expected = [[(dataset.mask(index) == value).any() for value in range(11)] for index in range(len(dataset))]
    found = presence(dataset, 11)
    assert found.tolist() == expected
    monkeypatch.setattr(dataset, "raw_mask", lambda index: pytest.fail("read again"))
    assert presence(dataset, 11).tolist() == expected
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first, second = sorted((tmp_path / "camvid" / "trainannot").iterdir())[:2]
    second.write_bytes(first.read_bytes())
    assert presence(dataset, 11)[1].tolist() == expected[0]


@pytest.mark.parametrize(
    ("groups", "halves"),
    [
        ([""] * 5, [0, 1, 0, 1, 0]),
        (["drive"] * 5, [0, 0, 0, 1, 1]),
        (["a", "b", "b", "c", "c", "c"], [1, 1, 1, 0, 0, 0]),
        (["a", "a", "", ""], [0, 0, 1, 1]),
    ],
)
def test_halves(groups, halves):
    assert halves_of(groups) == halves


def test_best_checkpoint_is_chosen_on_the_other_half(tmp_path):
    data = CamVidDataModule(
        make_camvid(tmp_path / "camvid", val=6),
        batch_size=2,
        num_workers=0,
        crop_size=32,
        select_half=True,
        label_ids=dict.fromkeys(CamVidDataModule.classes.names[4:]),
    )
    seen: dict[str, list[str]] = {}

    class Names(pl.Callback):
        def on_validation_batch_end(self, trainer, pl_module, outputs, batch, *_):
            seen.setdefault(trainer.state.fn, []).extend(sample["name"] for sample in batch)

    trainer = tiny_trainer(tmp_path, max_epochs=1, callbacks=[Names()])
    task = tiny_task()
    trainer.fit(task, data)
    trainer.validate(task, datamodule=data)
    assert seen == {"fit": ["val_0", "val_1", "val_2"], "validate": ["val_3", "val_4", "val_5"]}
