"""CamVid: pairs of files, label values, and the real images."""

import numpy as np
import pytest
from helpers.fake_data import blocks, make_camvid
from PIL import Image

from refinenet_pl.data.camvid import CAMVID, CamVidDataModule
from refinenet_pl.errors import UserError


def test_label_11_is_ignored(tmp_path):
    sample = CamVidDataModule(make_camvid(tmp_path)).dataset("test")[1]
    labels = blocks((48, 64), range(12), seed=1)
    assert sample["name"] == "test_1"
    assert np.array_equal(sample["mask"], np.where(labels == 11, 255, labels))


@pytest.mark.parametrize("folder", ["train", "trainannot"])
def test_unpaired_file_is_named(tmp_path, folder):
    (make_camvid(tmp_path) / folder / "train_2.png").unlink()
    with pytest.raises(UserError, match=r"1 of 4 samples.*train_2\.png"):
        CamVidDataModule(tmp_path).samples("train")


def test_unpaired_files_are_counted(tmp_path):
    make_camvid(tmp_path, train=9)
    for path in (tmp_path / "trainannot").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"9 of 9 samples.*train_0\.png.*train_4\.png, and 4 more\. Add") as error_info:
        CamVidDataModule(tmp_path).samples("train")
    assert "train_5.png" not in str(error_info.value)


def test_empty_folders_are_refused(tmp_path):
    for folder in ("train", "trainannot"):
        (tmp_path / folder).mkdir()
    with pytest.raises(UserError, match="no images"):
        CamVidDataModule(tmp_path).samples("train")


def test_duplicate_names_are_refused(tmp_path):
    make_camvid(tmp_path)
    (tmp_path / "train" / "train_0.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"train_0\.jpg and train_0\.png"):
        CamVidDataModule(tmp_path).samples("train")


def test_other_files_are_skipped(tmp_path):
    make_camvid(tmp_path)
    for junk in ("Thumbs.db", ".DS_Store", "._train_0.png"):
        (tmp_path / "train" / junk).write_bytes(b"")
    assert len(CamVidDataModule(tmp_path).samples("train")) == 4


def test_real_images_are_read(real_data):
    data = CamVidDataModule(real_data / "camvid")
    found = set()
    for split, count in {"train": 367, "val": 101}.items():
        dataset = data.dataset(split)
        dataset.transform = None
        assert len(dataset) == count
        listed = (real_data / "camvid" / f"{split}.txt").read_text().split()[::2]
        assert {sample.image.name for sample in dataset.samples} == {line.rsplit("/", 1)[1] for line in listed}
        for sample in map(dataset.__getitem__, range(count)):
            assert sample["image"].shape == (3, 360, 480)
            found |= set(np.unique(sample["mask"]).tolist())
    assert found == {*range(len(CAMVID)), 255}


def test_real_sky_above_road(real_data):
    masks = [np.asarray(Image.open(path)) for path in sorted((real_data / "camvid" / "trainannot").iterdir())[::20]]
    stack = np.stack(masks)
    height = np.broadcast_to(np.arange(360)[None, :, None], stack.shape)
    means = {name: height[stack == index].mean() for index, name in enumerate(CAMVID.names) if (stack == index).any()}
    assert min(means, key=lambda name: means[name]) == "sky"
    assert means["road"] > means["car"] > means["building"]
