"""Person-Part: list files, label values, and real samples."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.fake_data import blocks, make_person_part, save_list, save_palette
from PIL import Image
from scipy.io import savemat

from refinenet_pl.data.person_part import PERSON_PART, PersonPartDataModule
from refinenet_pl.errors import UserError

TRAIN, VAL = ["2008_b", "2008_a"], ["2010_c"]


def names(data, split):
    return [sample.name for sample in data.samples(split)]


def test_palette_labels_in_list_order(tmp_path):
    data = PersonPartDataModule(make_person_part(tmp_path, TRAIN, VAL))
    assert names(data, "train") == TRAIN
    assert names(data, "val") == VAL
    sample = data.dataset("val")[0]
    assert np.array_equal(sample["mask"], blocks((46, 52), range(7), seed=2))  # the third image
    assert sample["image"].shape == (3, 46, 52)


def test_255_is_ignored_7_is_refused(tmp_path):
    path = make_person_part(tmp_path, TRAIN, VAL) / "masks" / "2010_c.png"
    dataset = PersonPartDataModule(tmp_path).dataset("val")
    ignored = np.full((46, 52), 255, np.uint8)
    save_palette(path, ignored)
    assert np.array_equal(dataset[0]["mask"], ignored)
    save_palette(path, np.full((46, 52), 7, np.uint8))
    with pytest.raises(UserError, match=r"2010_c\.png: contains label values that are not a class: 7\."):
        dataset[0]


def test_test_split_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no test split.*`validate`"):
        PersonPartDataModule(make_person_part(tmp_path, TRAIN, VAL)).setup("test")


def test_lists_of_path_pairs(tmp_path):
    (make_person_part(tmp_path, TRAIN, VAL) / "masks").rename(tmp_path / "parts")
    save_list(tmp_path / "val.txt", ["/JPEGImages/2008_a.jpg /parts/2008_a.png"])
    data = PersonPartDataModule(tmp_path)
    assert names(data, "val") == ["2008_a"]
    assert np.array_equal(data.dataset("val")[0]["mask"], blocks((43, 51), range(7), seed=1))


def test_missing_files_name_source(tmp_path):
    with pytest.raises(UserError, match=r"(?s)no such folder.*pascal-parts"):
        PersonPartDataModule(tmp_path / "nothing").setup("fit")
    (make_person_part(tmp_path, TRAIN, VAL) / "JPEGImages" / "2008_a.jpg").unlink()
    with pytest.raises(UserError, match=r"(?s)1 of 4 files.*2008_a.*pascal-parts"):
        PersonPartDataModule(tmp_path).setup("fit")


def test_real_labels_and_colors(real_data, tmp_path):
    folder = real_data / "samples" / "person_part"
    listed = [path.stem for path in sorted(folder.glob("*.jpg"))]
    assert len(listed) == 4
    save_list(tmp_path / "val.txt", listed)
    for link in ("JPEGImages", "masks"):
        (tmp_path / link).symlink_to(folder)
    dataset = PersonPartDataModule(tmp_path).dataset("val")
    for sample in map(dataset.__getitem__, range(len(listed))):
        with Image.open(folder / f"{sample['name']}.png") as mask:
            palette = np.array(mask.getpalette())
            assert np.array_equal(sample["mask"], np.asarray(mask))
            assert np.array_equal(palette.reshape(-1, 3)[:7], PERSON_PART.colors)
        assert sample["image"].shape[1:] == sample["mask"].shape


def test_official_lists_are_disjoint(real_data, tmp_path, monkeypatch):
    for split in ("train", "val"):
        (tmp_path / f"{split}.txt").symlink_to(real_data / "splits" / f"person_part_{split}.txt")
    monkeypatch.setattr(Path, "is_file", lambda path: True)  # so that 7,066 files need not exist
    train, val = (names(PersonPartDataModule(tmp_path), split) for split in ("train", "val"))
    assert (len(train), len(val), len({*train, *val})) == (1716, 1817, 1716 + 1817)


def struct(**fields):
    """A MATLAB struct of 1 x 1."""
    value = np.empty((1, 1), [(name, object) for name in fields])
    for name, field in fields.items():
        value[name][0, 0] = field
    return value


def structs(items):
    """A MATLAB struct array of 1 x N."""
    return np.concatenate(items, axis=1) if items else np.zeros((0, 0))


def write_annotation(path, objects, shape=(20, 30)):
    """Write an annotation of PASCAL-Part: objects with their class, and the rectangles of their parts."""
    made = []
    for name, parts in objects:
        part_structs = []
        for part, (top, left, bottom, right) in parts.items():
            mask = np.zeros(shape, np.uint8)
            mask[top:bottom, left:right] = 1
            part_structs.append(struct(part_name=part, mask=mask))
        fields = {"class": name, "class_ind": 15, "mask": np.ones(shape, np.uint8), "parts": structs(part_structs)}
        made.append(struct(**fields))
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"anno": struct(imname=path.stem, objects=structs(made))})


def test_annotations_are_converted_once(tmp_path):
    make_person_part(tmp_path, ["a"], ["b"])
    shutil.rmtree(tmp_path / "masks")
    person = {"hair": (0, 0, 4, 10), "neck": (4, 0, 6, 10), "lhand": (6, 0, 8, 5), "rfoot": (8, 0, 10, 5)}
    other = {"torso": (0, 20, 5, 30), "ruarm": (5, 20, 9, 25), "luleg": (9, 20, 15, 30)}
    for name in "ab":
        objects = [("person", person), ("dog", {"head": (15, 0, 20, 30)}), ("person", other), ("person", {})]
        write_annotation(tmp_path / "Annotations_Part" / f"{name}.mat", objects)
    PersonPartDataModule(tmp_path).convert()
    expected = np.zeros((20, 30), int)
    for index, (top, left, bottom, right) in {
        1: person["hair"], 2: person["neck"], 4: person["lhand"], 6: person["rfoot"],
    }.items():  # fmt: skip
        expected[top:bottom, left:right] = index
    for index, (top, left, bottom, right) in {2: other["torso"], 3: other["ruarm"], 5: other["luleg"]}.items():
        expected[top:bottom, left:right] = index
    assert np.array_equal(np.asarray(Image.open(tmp_path / "masks" / "b.png")), expected)
    before = (tmp_path / "masks" / "b.png").stat().st_mtime_ns
    PersonPartDataModule(tmp_path).convert()
    assert (tmp_path / "masks" / "b.png").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: None, "no such file; expected PASCAL-Part's annotation"),
        (lambda path: path.write_bytes(b"no MATLAB"), "cannot be read as an annotation"),
        (lambda path: savemat(path, {"x": 1}), "cannot be read as an annotation"),
        (lambda path: write_annotation(path, [("person", {"wing": (0, 0, 1, 1)})]), "the part 'wing' of a person"),
    ],
)
def test_other_annotations_are_refused(write, words, tmp_path):
    make_person_part(tmp_path, ["a"], ["b"])
    shutil.rmtree(tmp_path / "masks")
    (tmp_path / "Annotations_Part").mkdir()
    write(tmp_path / "Annotations_Part" / "a.mat")
    with pytest.raises(UserError, match=rf"Annotations_Part/a\.mat: .*{words}"):
        PersonPartDataModule(tmp_path).convert()


def test_images_in_the_devkit(tmp_path):
    make_person_part(tmp_path, ["a"], ["b"])
    (tmp_path / "VOCdevkit" / "VOC2010").mkdir(parents=True)
    (tmp_path / "JPEGImages").rename(tmp_path / "VOCdevkit" / "VOC2010" / "JPEGImages")
    assert len(PersonPartDataModule(tmp_path).dataset("train")) == 1
