"""NYU Depth V2: list files, and the two encodings of its labels."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.fake_data import blocks, make_nyudv2, save_gray, save_list
from PIL import Image

from refinenet_pl.data.nyudv2 import NYUDv2DataModule
from refinenet_pl.data.nyudv2_raw import class_table, official_split
from refinenet_pl.errors import UserError

FROM_ZERO, FROM_ONE = (*range(40), 255), range(41)
EITHER = range(1, 40)


def names(data, split):
    return [sample.name for sample in data.samples(split)]


def unaugmented(data, split):
    dataset = data.dataset(split)
    dataset.transform = None
    return dataset


def raw_labels(root, name):
    return np.asarray(Image.open(root / "masks" / f"{name}.png"))


def shifted(raw):
    """Class indices of labels 1..40 with void 0."""
    return np.where(raw == 0, 255, raw.astype(int) - 1)


def unclear_labels(root, *names):
    """Replace label images by ones that fit both encodings."""
    for name in names:
        save_gray(root / "masks" / f"{name}.png", blocks((40, 50), EITHER, seed=1))


@pytest.mark.parametrize("labels", ["auto", "from_zero"])
def test_labels_from_zero(tmp_path, labels):
    data = NYUDv2DataModule(make_nyudv2(tmp_path, FROM_ZERO), labels)
    for split, index, name in [("train", 0, "000003"), ("train", 1, "000004"), ("val", 0, "000001")]:
        assert np.array_equal(unaugmented(data, split)[index]["mask"], raw_labels(tmp_path, name))


@pytest.mark.parametrize("labels", ["auto", "from_one"])
def test_labels_from_one(tmp_path, labels):
    data = NYUDv2DataModule(make_nyudv2(tmp_path, FROM_ONE), labels)
    for split, index, name in [("train", 0, "000003"), ("train", 1, "000004"), ("val", 0, "000001")]:
        assert np.array_equal(unaugmented(data, split)[index]["mask"], shifted(raw_labels(tmp_path, name)))


@pytest.mark.parametrize("unclear", [["000003", "000004"], ["000003", "000001"]])
def test_one_file_reveals_encoding(tmp_path, unclear):
    unclear_labels(make_nyudv2(tmp_path, FROM_ONE), *unclear)
    for split, name in [("train", "000003"), ("test", "000001")]:
        data = NYUDv2DataModule(tmp_path)  # only one split is requested
        assert np.array_equal(unaugmented(data, split)[0]["mask"], shifted(raw_labels(tmp_path, name)))


def test_encoding_known_before_workers(tmp_path):
    data = NYUDv2DataModule(make_nyudv2(tmp_path, FROM_ONE, test=["000001", "000002"]), num_workers=2)
    unclear_labels(tmp_path, "000002")
    loader = data.val_dataloader()
    unclear_labels(tmp_path, "000001", "000003", "000004")  # no file reveals the encoding any more
    masks = [sample["mask"] for [sample] in loader]
    assert len(masks) == 2
    assert all(np.array_equal(mask, blocks((40, 50), EITHER, seed=1) - 1) for mask in masks)


def test_unclear_encoding_is_refused(tmp_path):
    make_nyudv2(tmp_path, EITHER)
    with pytest.raises(UserError, match=r"cannot detect the encoding.*Set data\.labels to from_zero .* from_one"):
        NYUDv2DataModule(tmp_path).setup("fit")
    raw = raw_labels(tmp_path, "000001")
    assert np.array_equal(NYUDv2DataModule(tmp_path, "from_zero").dataset("val")[0]["mask"], raw)
    assert np.array_equal(NYUDv2DataModule(tmp_path, "from_one").dataset("val")[0]["mask"], raw - 1)


def test_mixed_splits_are_refused(tmp_path):
    make_nyudv2(tmp_path, FROM_ONE)
    save_gray(tmp_path / "masks" / "000001.png", np.full((40, 50), 255, np.uint8))
    with pytest.raises(UserError, match=r"000001\.png contains 255.*000003\.png contains 40.*Convert all"):
        NYUDv2DataModule(tmp_path).setup("validate")


def test_mixed_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"000003\.png contains 255.*000003\.png contains 40"):
        NYUDv2DataModule(make_nyudv2(tmp_path, (40, 255, 40, 40))).setup("fit")


@pytest.mark.parametrize(("encoding", "other", "value"), [(FROM_ZERO, FROM_ONE, 40), (FROM_ONE, FROM_ZERO, 255)])
def test_other_encoding_is_refused_later(tmp_path, encoding, other, value):
    make_nyudv2(tmp_path, encoding)
    save_gray(tmp_path / "masks" / "000004.png", np.resize(np.array(other, np.uint8), (40, 50)))
    with pytest.raises(UserError, match=rf"000004\.png: contains label values that are not a class: {value}\."):
        NYUDv2DataModule(tmp_path).dataset("train")[1]


def test_val_is_test(tmp_path):
    data = NYUDv2DataModule(make_nyudv2(tmp_path))
    assert names(data, "train") == ["000003", "000004"]
    assert names(data, "val") == names(data, "test") == ["000001"]


def test_images_may_be_jpegs(tmp_path):
    make_nyudv2(tmp_path)
    png = tmp_path / "images" / "000001.png"
    Image.open(png).save(png.with_suffix(".jpg"))
    png.unlink()
    assert NYUDv2DataModule(tmp_path).dataset("val")[0]["image"].shape == (3, 40, 50)


def test_lists_of_path_pairs(tmp_path):
    make_nyudv2(tmp_path)
    (tmp_path / "images").rename(tmp_path / "val_images")
    (tmp_path / "masks").rename(tmp_path / "val_labels")
    save_list(tmp_path / "train.txt", ["val_images/000004.png\tval_labels/000004.png"])
    save_list(tmp_path / "test.txt", ["/val_images/000001.png /val_labels/000001.png", ""])
    data = NYUDv2DataModule(tmp_path)
    assert (names(data, "train"), names(data, "val")) == (["000004"], ["000001"])
    assert np.array_equal(
        data.dataset("val")[0]["mask"], np.asarray(Image.open(tmp_path / "val_labels" / "000001.png"))
    )


def test_bad_line_is_quoted(tmp_path):
    save_list(make_nyudv2(tmp_path) / "test.txt", ["000001", "my images/1.png masks/1.png"])
    with pytest.raises(UserError, match=r"test\.txt: cannot parse the line 'my images/1\.png masks/1\.png'"):
        NYUDv2DataModule(tmp_path).setup("fit")


def test_missing_files_name_source(tmp_path):
    with pytest.raises(UserError, match=r"(?s)no such folder.*nyu_depth_v2"):
        NYUDv2DataModule(tmp_path / "nothing").setup("fit")
    (make_nyudv2(tmp_path) / "masks" / "000001.png").unlink()
    with pytest.raises(UserError, match=r"(?s)1 of 2 files.*000001\.png.*nyu_depth_v2"):
        NYUDv2DataModule(tmp_path).setup("validate")
    (tmp_path / "test.txt").unlink()
    with pytest.raises(UserError, match=r"test\.txt: no such file"):
        NYUDv2DataModule(tmp_path).setup("fit")


def test_real_labels_in_both_encodings(real_data, tmp_path):
    folder = real_data / "samples" / "nyudv2"
    numbers = [path.stem for path in sorted(folder.glob("[0-9]*[0-9].png"))]
    assert len(numbers) == 5
    for encoding in ("zero", "one"):
        (tmp_path / encoding / "masks").mkdir(parents=True)
        (tmp_path / encoding / "images").symlink_to(folder)
        for split in ("train", "test"):
            save_list(tmp_path / encoding / f"{split}.txt", numbers)
    raw = {name: np.asarray(Image.open(folder / f"{name}_mask.png")) for name in numbers}
    for name, labels in raw.items():
        (tmp_path / "zero" / "masks" / f"{name}.png").symlink_to(folder / f"{name}_mask.png")
        save_gray(tmp_path / "one" / "masks" / f"{name}.png", np.where(labels == 255, 0, labels + 1).astype(np.uint8))
    for encoding in ("zero", "one"):
        dataset = NYUDv2DataModule(tmp_path / encoding).dataset("val")
        samples = [dataset[index] for index in range(len(dataset))]
        assert [sample["name"] for sample in samples] == numbers
        for sample in samples:
            assert np.array_equal(sample["mask"], raw[sample["name"]])
            assert sample["image"].shape[1:] == sample["mask"].shape


def test_official_lists_cover_all_images(real_data, tmp_path, monkeypatch):
    for split in ("train", "test"):
        (tmp_path / f"{split}.txt").symlink_to(real_data / "splits" / f"nyudv2_{split}.txt")
    monkeypatch.setattr(Path, "is_file", lambda path: True)  # so that 2,898 files need not exist
    train, test = (names(NYUDv2DataModule(tmp_path), split) for split in ("train", "test"))
    assert (len(train), len(test)) == (795, 654)
    assert sorted(train + test) == [f"{number:06}" for number in range(1, 1450)]


def make_raw(path, images, labels):
    """Write NYU's labeled file as MATLAB does: columns first."""
    with h5py.File(path, "w") as file:
        file["images"] = images.transpose(0, 3, 2, 1)
        file["labels"] = labels.transpose(0, 2, 1).astype(np.uint16)


def test_raw_file_is_converted_once(tmp_path):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (5, 12, 16, 3), np.uint8)
    labels = random.integers(0, 895, (5, 12, 16))
    labels[0, 0, :8] = [0, 21, 5, 157, 8, 12, 1, 894]  # of wall, chair, bed, other structure, furniture, prop
    make_raw(tmp_path / "nyu_depth_v2_labeled.mat", images, labels)
    data = NYUDv2DataModule(tmp_path)
    data.convert()
    assert [sample.name for sample in data.samples("train")] == ["000003", "000004", "000005"]
    assert [sample.name for sample in data.samples("test")] == ["000001", "000002"]
    sample = data.dataset("test")[0]
    assert np.array_equal(sample["image"].permute(1, 2, 0), images[0])
    assert sample["mask"][0, :8].tolist() == [255, 0, 4, 3, 37, 38, 39, 39]
    written = tmp_path / "masks" / "000003.png"
    before = written.stat().st_mtime_ns
    (tmp_path / "masks" / "000004.png").unlink()
    NYUDv2DataModule(tmp_path).convert()
    assert written.stat().st_mtime_ns == before
    assert (tmp_path / "masks" / "000004.png").is_file()


def test_classes_of_raw_labels():
    counts = np.bincount(class_table())
    assert counts.tolist() == [1, *[1] * 37, 68, 82, 707]  # as in Gupta's classMapping40.mat
    assert class_table()[1:11].tolist() == [40, 40, 3, 22, 5, 40, 12, 38, 40, 40]


def test_official_split_is_the_listed_one(real_data):
    for split, names in official_split().items():
        assert names == (real_data / "splits" / f"nyudv2_{split}.txt").read_text().split()


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b"no HDF5"),
        lambda path: h5py.File(path, "w").close(),
        lambda path: make_raw(path, np.zeros((2, 4, 6, 3), np.uint8), np.zeros((3, 4, 6))),
        lambda path: make_raw(path, np.zeros((1, 4, 6, 3), np.uint8), np.full((1, 4, 6), 895)),
    ],
)
def test_other_raw_files_are_refused(change, tmp_path):
    change(tmp_path / "nyu_depth_v2_labeled.mat")
    with pytest.raises(UserError, match=r"nyu_depth_v2_labeled\.mat: cannot be read as NYU's labeled file"):
        NYUDv2DataModule(tmp_path).convert()
