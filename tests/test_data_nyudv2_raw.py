"""NYUDv2 from its raw file: orientation, classes, files that exist, and files that are refused."""

import sys

import h5py
import numpy as np
import pytest
from helpers.fake_data import make_nyudv2_raw, save_list
from PIL import Image

from refinenet_pl.data.nyudv2 import NYUDV2, NYUDv2DataModule
from refinenet_pl.errors import UserError

# Raw labels and their classes, from allClassName, mapClass and className of Gupta's classMapping40.mat.
KNOWN = {
    0: "void",
    3: "cabinet",
    5: "chair",
    11: "floor",
    17: "refrigerator",
    19: "table",
    21: "wall",
    28: "door",
    35: "other prop",  # cup
    50: "other furniture",  # stand
    55: "bag",
    59: "window",
    83: "sofa",
    94: "other structure",  # column
    136: "bathtub",
    157: "bed",
    158: "night stand",
    172: "television",
    331: "person",
    894: "other prop",
}


SCENES = ("kitchen_0004", "kitchen_0004", "office_0012", "office_0013")


def make_raw(root, count=4, height=5, width=20, scenes=()):
    """Write images whose only bright pixel is at the top right, with the known labels along the first row."""
    images = np.zeros((count, height, width, 3), np.uint8)
    images[:, 0, -1] = (250, 100, 10)
    labels = np.full((count, height, width), 21)
    labels[:, 0] = [*KNOWN]
    return make_nyudv2_raw(root, images, labels, scenes)


def test_images_are_upright(tmp_path):
    data = NYUDv2DataModule(make_raw(tmp_path))
    data.convert()
    sample = data.dataset("test")[0]
    assert sample["image"].shape == (3, 5, 20)
    assert sample["image"].nonzero().tolist() == [[channel, 0, 19] for channel in range(3)]
    assert sample["image"][:, 0, 19].tolist() == [250, 100, 10]


def test_known_raw_labels(tmp_path):
    data = NYUDv2DataModule(make_raw(tmp_path))
    data.convert()
    mask = data.dataset("test")[0]["mask"]
    names = [*NYUDV2.names, *["?"] * (255 - len(NYUDV2)), "void"]
    assert [names[index] for index in mask[0].tolist()] == [*KNOWN.values()]
    assert (mask[1:] == NYUDV2.names.index("wall")).all()


def test_files_that_exist_are_kept(tmp_path):
    save_list(make_raw(tmp_path) / "train.txt", ["000002"])  # a list of the user's own
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "000001.png").write_bytes(b"the user's")
    raw = (tmp_path / "nyu_depth_v2_labeled.mat").read_bytes()
    data = NYUDv2DataModule(tmp_path)
    data.convert()
    (tmp_path / "masks" / "000003.png").unlink()  # as if it had been interrupted
    data.convert()
    assert [sample.name for sample in data.samples("train")] == ["000002"]
    assert (tmp_path / "images" / "000001.png").read_bytes() == b"the user's"
    assert len([*(tmp_path / "masks").iterdir()]) == 4
    assert (tmp_path / "nyu_depth_v2_labeled.mat").read_bytes() == raw


def test_images_of_a_scene_are_a_group(tmp_path):
    data = NYUDv2DataModule(make_raw(tmp_path, scenes=SCENES))
    data.convert()
    assert (tmp_path / "scenes.txt").read_text() == (
        "000001 kitchen_0004\n000002 kitchen_0004\n000003 office_0012\n000004 office_0013\n"
    )
    assert tuple(data.group_of(f"{index:06}") for index in range(1, 5)) == SCENES
    assert data.group_of("000005") == ""
    own = NYUDv2DataModule(tmp_path, group_pattern="0000")
    assert {own.group_of(f"{index:06}") for index in range(1, 5)} == {"0000"}


def test_copies_without_scenes_have_no_groups(tmp_path):
    data = NYUDv2DataModule(make_raw(tmp_path))
    data.convert()
    assert not (tmp_path / "scenes.txt").exists()
    assert data.group_of("000001") == ""
    (tmp_path / "scenes.txt").write_text("000001 kitchen 0004\n")
    with pytest.raises(
        UserError, match=r"scenes\.txt: .*'000001 kitchen 0004'; expected the name of an image and its group"
    ):
        NYUDv2DataModule(tmp_path).group_of("000001")


@pytest.mark.parametrize(
    ("scenes", "words"),
    [
        (SCENES[:3], r"found scenes \(1, 3\).*expected 4 references"),
        ((*SCENES[:3], "../office 1"), r"found the scene '\.\./office 1'; expected letters"),
        ((*SCENES[:3], "o" * 101), "a scene that is no short text"),
    ],
)
def test_other_scenes_are_refused(scenes, words, tmp_path):
    make_raw(tmp_path, scenes=scenes)
    with pytest.raises(UserError, match=words):
        NYUDv2DataModule(tmp_path).convert()
    assert not (tmp_path / "images").exists()


def test_scenes_of_other_files_are_refused(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"s\0e\0c\0")
    with h5py.File(make_raw(tmp_path, scenes=SCENES) / "nyu_depth_v2_labeled.mat", "a") as file:
        text = file.create_dataset("text", (3, 1), np.uint16, external=[(str(secret), 0, h5py.h5f.UNLIMITED)])
        file["scenes"][0, 3] = text.ref
    with pytest.raises(UserError, match="a scene that is no short text"):
        NYUDv2DataModule(tmp_path).convert()
    assert not (tmp_path / "scenes.txt").exists()


def test_missing_h5py_is_named(tmp_path, monkeypatch):
    make_raw(tmp_path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match=r"nyu_depth_v2_labeled\.mat: to read it, .*pip install h5py"):
        NYUDv2DataModule(tmp_path).convert()


def replace(file, name, **options):
    """Replace a dataset by one of the same form with other options."""
    shape = file[name].shape
    del file[name]
    file.create_dataset(name, shape, **options)


def link(file, secret):
    del file["labels"]
    file["labels"] = h5py.ExternalLink(str(secret), "labels")


def storage(file, secret):
    replace(file, "images", dtype=np.uint8, external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def view(file, secret):
    layout = h5py.VirtualLayout(file["labels"].shape, np.uint16)
    layout[:] = h5py.VirtualSource(str(secret), "labels", file["labels"].shape)
    del file["labels"]
    file.create_virtual_dataset("labels", layout)


def group(file, secret):
    del file["images"]
    file.create_group("images")


@pytest.mark.parametrize("change", [link, storage, view, group])
def test_values_of_other_files_are_refused(change, tmp_path):
    secret = make_raw(tmp_path / "other") / "nyu_depth_v2_labeled.mat"
    with h5py.File(make_raw(tmp_path / "nyu") / "nyu_depth_v2_labeled.mat", "a") as file:
        change(file, secret)
    with pytest.raises(UserError, match=r"nyu_depth_v2_labeled\.mat: .*holds no data named '(images|labels)'"):
        NYUDv2DataModule(tmp_path / "nyu").convert()
    assert not (tmp_path / "nyu" / "images").exists()


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "words"),
    [
        ("images", (4, 3, 20, 5), np.float32, "images of float32"),
        ("labels", (4, 20, 5), np.int16, "labels of int16"),
        ("labels", (4, 5, 20), np.uint16, r"labels \(4, 5, 20\)"),
    ],
)
def test_other_forms_are_refused(name, shape, dtype, words, tmp_path):
    with h5py.File(make_raw(tmp_path) / "nyu_depth_v2_labeled.mat", "a") as file:
        del file[name]
        file.create_dataset(name, shape, dtype)
    with pytest.raises(UserError, match=rf"found .*{words}.*; expected"):
        NYUDv2DataModule(tmp_path).convert()


def test_huge_images_are_refused(tmp_path):
    with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "w") as file:  # sparse: some kilobytes
        file.create_dataset("images", (1, 3, 100_000, 100_000), np.uint8, chunks=(1, 1, 1000, 1000))
        file.create_dataset("labels", (1, 100_000, 100_000), np.uint16, chunks=(1, 1000, 1000))
    with pytest.raises(UserError, match=r"100000.*at most 178,956,970 pixels"):
        NYUDv2DataModule(tmp_path).convert()


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_incomplete_downloads_are_refused(kept, tmp_path):
    path = make_raw(tmp_path) / "nyu_depth_v2_labeled.mat"
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(UserError, match=r"nyu_depth_v2_labeled\.mat: cannot be read .*Get it again"):
        NYUDv2DataModule(tmp_path).convert()


def test_damaged_object_is_refused(tmp_path):
    path = make_raw(tmp_path) / "nyu_depth_v2_labeled.mat"
    with h5py.File(path) as file:
        address = file.userblock_size + h5py.h5o.get_info(file["labels"].id).addr
    content = bytearray(path.read_bytes())
    content[address] ^= 255  # the version of the object's header
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"nyu_depth_v2_labeled\.mat: cannot be read"):
        NYUDv2DataModule(tmp_path).convert()


def test_faults_of_the_disk_are_no_damage(tmp_path):
    (make_raw(tmp_path) / "images").write_text("a file where the folder goes")
    with pytest.raises(OSError, match="images"):
        NYUDv2DataModule(tmp_path).convert()


def test_pngs_have_palettes(tmp_path):
    NYUDv2DataModule(make_raw(tmp_path)).convert()
    with Image.open(tmp_path / "masks" / "000004.png") as mask:
        assert (mask.mode, mask.getpixel((19, 0))) == ("P", 40)
