"""Person-Part from PASCAL-Part's annotations: the merge of parts, the lists, and files that are refused."""

import numpy as np
import pytest
from helpers.fake_data import make_pascal_part, save_list
from PIL import Image
from scipy.io import savemat

from refinenet_pl.data.person_part import PERSON_PART, PersonPartDataModule
from refinenet_pl.errors import UserError

# All parts of a person that PASCAL-Part labels, by the class of Person-Part that each belongs to.
MERGED = {
    "head": ["head", "hair", "leye", "reye", "lear", "rear", "lebrow", "rebrow", "nose", "mouth"],
    "torso": ["torso", "neck"],
    "upper arms": ["luarm", "ruarm"],
    "lower arms": ["llarm", "rlarm", "lhand", "rhand"],
    "upper legs": ["luleg", "ruleg"],
    "lower legs": ["llleg", "rlleg", "lfoot", "rfoot"],
}
MAIN = "VOCdevkit/VOC2010/ImageSets/Main"


def area(rows, columns):
    mask = np.zeros((20, 30), bool)
    mask[rows, columns] = True
    return mask


SOME_BODY = ("person", {"torso": area(slice(5, 9), slice(0, 30))})
NO_PARTS: tuple[str, dict[str, np.ndarray]] = ("person", {})
HIDDEN = ("person", {"torso": area(0, slice(0, 0))})
DOG = ("dog", {"head": area(slice(0, 20), slice(0, 30))})


def names(data, split):
    return [sample.name for sample in data.samples(split)]


def test_all_parts_are_merged(tmp_path):
    parts = [part for group in MERGED.values() for part in group]
    masks = {part: area(0, column) for column, part in enumerate(parts)}
    save_list(make_pascal_part(tmp_path, {"a": [DOG, ("person", masks)]}) / "train.txt", ["a"])
    save_list(tmp_path / "val.txt", ["a"])
    data = PersonPartDataModule(tmp_path)
    data.convert()
    mask = data.dataset("val")[0]["mask"]
    assert mask.shape == (20, 30)
    found = [PERSON_PART.names[index] for index in mask[0, : len(parts)].tolist()]
    assert found == [name for name, group in MERGED.items() for part in group]
    assert not mask[1:].any()
    assert not mask[0, len(parts) :].any()


def test_people_are_merged_into_one_image(tmp_path):
    hand = ("person", {"lhand": area(slice(7, 11), slice(0, 5))})
    save_list(make_pascal_part(tmp_path, {"a": [SOME_BODY, NO_PARTS, hand]}) / "train.txt", ["a"])
    save_list(tmp_path / "val.txt", ["a"])
    PersonPartDataModule(tmp_path).convert()
    expected = np.zeros((20, 30), int)
    expected[5:9] = 2
    expected[7:11, :5] = 4
    with Image.open(tmp_path / "masks" / "a.png") as mask:
        assert np.array_equal(np.asarray(mask), expected)


def test_lists_from_those_of_voc(tmp_path):
    images = {"a": [DOG], "b": [DOG, SOME_BODY], "c": [NO_PARTS], "d": [HIDDEN], "e": [SOME_BODY], "f": [SOME_BODY]}
    save_list(make_pascal_part(tmp_path, images) / MAIN / "train.txt", ["e", "a", "b", "c"])
    save_list(tmp_path / MAIN / "val.txt", ["d", "f"])
    data = PersonPartDataModule(tmp_path)
    data.convert()
    assert (names(data, "train"), names(data, "val")) == (["e", "b"], ["f"])
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["b.png", "e.png", "f.png"]


def test_own_lists_come_first(tmp_path):
    images = {"a": [DOG], "b": [SOME_BODY], "c": [SOME_BODY]}
    save_list(make_pascal_part(tmp_path, images) / "train.txt", ["a", "b"])
    save_list(tmp_path / "val.txt", ["c"])
    for split in ("train", "val"):
        save_list(tmp_path / MAIN / f"{split}.txt", ["x"])
    data = PersonPartDataModule(tmp_path)
    data.convert()
    assert (names(data, "train"), names(data, "val")) == (["a", "b"], ["c"])


def test_files_that_exist_are_kept(tmp_path):
    save_list(make_pascal_part(tmp_path, {"a": [SOME_BODY], "b": [SOME_BODY]}) / MAIN / "train.txt", ["a", "b"])
    save_list(tmp_path / MAIN / "val.txt", ["a"])
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.png").write_bytes(b"the user's")
    data = PersonPartDataModule(tmp_path)
    data.convert()
    (tmp_path / "masks" / "b.png").unlink()  # as if it had been interrupted
    data.convert()
    assert (tmp_path / "masks" / "a.png").read_bytes() == b"the user's"
    assert names(data, "train") == ["a", "b"]


def test_missing_lists_name_their_source(tmp_path):
    make_pascal_part(tmp_path, {"a": [SOME_BODY]})
    with pytest.raises(UserError, match=r"(?s)VOC2010/ImageSets/Main: no such folder.*liangchiehchen\.com"):
        PersonPartDataModule(tmp_path).convert()


def test_names_stay_in_their_folder(tmp_path):
    save_list(make_pascal_part(tmp_path / "data", {"../a": [SOME_BODY]}) / "train.txt", ["../a"])
    with pytest.raises(UserError, match=r"'\.\./a\.png': cannot be the name of a file"):
        PersonPartDataModule(tmp_path / "data").convert()
    assert not [*tmp_path.rglob("a.png")]


def flip_byte(path):
    savemat(path, {"anno": np.arange(1000)}, do_compression=True)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        flip_byte,
        lambda path: path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"),
        lambda path: savemat(path, {"anno": {"objects": {"mask": np.ones((2, 2, 2)), "class": "person", "parts": []}}}),
        lambda path: savemat(path, {"anno": {"objects": np.zeros((0, 0))}}),
    ],
    ids=["byte", "version", "mask", "objects"],
)
def test_damaged_annotations_are_named(damage, tmp_path):
    save_list(make_pascal_part(tmp_path, {"a": [SOME_BODY]}) / "train.txt", ["a"])
    damage(tmp_path / "Annotations_Part" / "a.mat")
    with pytest.raises(UserError, match=r"Annotations_Part/a\.mat: cannot be read as an annotation of PASCAL-Part"):
        PersonPartDataModule(tmp_path).convert()
