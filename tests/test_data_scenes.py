"""Scenes: painting once, cache folder, and concurrent runs."""

import numpy as np
import pytest

from refinenet_pl.data import scenes
from refinenet_pl.data.scenes import ScenesDataModule
from refinenet_pl.errors import UserError


@pytest.fixture(autouse=True)
def few_scenes(monkeypatch):
    monkeypatch.setattr(scenes, "SPLITS", {"train": range(4), "val": range(4, 6), "test": range(6, 8)})
    monkeypatch.setattr(scenes, "SIZE", (32, 48))


def painted(root, **kwargs):
    data = ScenesDataModule(root, **kwargs)
    data.prepare_data()
    return data


def test_splits_hold_painted_scenes(tmp_path):
    data = painted(tmp_path, seed=3)
    assert [len(data.samples(split)) for split in ("train", "val", "test")] == [4, 2, 2]
    sample = data.dataset("val")[1]
    image, mask = scenes.paint_scene(3, 5, (32, 48))
    assert np.array_equal(sample["image"].permute(1, 2, 0), image)
    assert np.array_equal(sample["mask"], mask)


@pytest.mark.parametrize(("crop_size", "shape"), [(24, (24, 24)), ((24, 40), (24, 40))])
def test_crop_size_is_one_number_or_two(tmp_path, crop_size, shape):
    assert painted(tmp_path, crop_size=crop_size).dataset("train")[0]["image"].shape[1:] == shape


def test_scenes_are_painted_once(tmp_path, monkeypatch):
    painted(tmp_path)
    monkeypatch.setattr(scenes, "paint_scene", lambda *arguments: pytest.fail("painted again"))
    painted(tmp_path)


def test_seeds_give_different_images(tmp_path):
    first, second = (painted(tmp_path, seed=seed).dataset("val")[0]["image"] for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_interruption_leaves_no_files(tmp_path, monkeypatch):
    def stop(seed, index, size):
        raise KeyboardInterrupt

    paint = scenes.paint_scene
    monkeypatch.setattr(scenes, "paint_scene", stop)
    with pytest.raises(KeyboardInterrupt):
        painted(tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(scenes, "paint_scene", paint)
    assert len(painted(tmp_path).samples("train")) == 4


def test_first_of_two_painters_wins(tmp_path, monkeypatch):
    paint = scenes.paint_scene
    others: list[bool] = []

    def paint_while_another_run_finishes(seed, index, size):
        if not others:
            others.append(True)
            painted(tmp_path)
        return paint(seed, index, size)

    monkeypatch.setattr(scenes, "paint_scene", paint_while_another_run_finishes)
    data = painted(tmp_path)
    assert len(data.samples("train")) == 4
    assert [path.name for path in tmp_path.iterdir()] == [data.root.name]


def test_default_root_is_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert painted(None).root.parent == tmp_path / "refinenet-pl" / "scenes"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert str(ScenesDataModule().root.parent) == "/home/someone/.cache/refinenet-pl/scenes"


def test_unpainted_scenes_are_refused(tmp_path):
    with pytest.raises(UserError, match="prepare_data"):
        ScenesDataModule(tmp_path).setup("fit")


@pytest.mark.parametrize("place", ["/proc/nope", "file"])
def test_cache_that_cannot_be_written(tmp_path, monkeypatch, place):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / place))
    with pytest.raises(UserError, match=r"the scenes cannot be painted into this folder .*Set data\.root"):
        ScenesDataModule().prepare_data()
