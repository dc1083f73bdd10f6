"""Classes and label values as a configuration gives them."""

import numpy as np
import pytest
from helpers.fake_data import make_camvid
from PIL import Image

from refinenet_pl.data import CamVidDataModule, NYUDv2DataModule
from refinenet_pl.data.classes import IGNORE_INDEX, Classes, voc_colors
from refinenet_pl.data.labels import changed_labels, color_code, own_labels, plain_labels
from refinenet_pl.errors import UserError

PETS = Classes(("cat", "dog", "bird", "fish"), voc_colors(4))
RED, GREEN = (255, 0, 0), (0, 255, 0)


@pytest.mark.parametrize(
    ("names", "label_ids", "classes", "encoding"),
    [
        (["a", "b"], None, ("a", "b"), {0: 0, 1: 1, 255: 255}),
        (None, {0: "a", 255: "b"}, ("a", "b"), {0: 0, 255: 1}),
        (["a", "b"], {0: "b", 1: "a"}, ("a", "b"), {0: 1, 1: 0, 255: 255}),
        (["a", "b"], {"7": 0, 300: 1, 9: None}, ("a", "b"), {7: 0, 300: 1, 9: 255, 255: 255}),
        (None, {3: "void", 5: "x", 6: "y", 7: "x"}, ("x", "y"), {3: 255, 5: 0, 6: 1, 7: 0, 255: 255}),
    ],
)
def test_own_values(names, label_ids, classes, encoding):
    labels = own_labels(names, None, label_ids)
    assert labels.classes == Classes(classes, voc_colors(len(classes)))
    assert labels.encoding == encoding
    assert not labels.colored


def test_own_colors():
    labels = own_labels(None, None, {"#ff0000": "road", "0, 255,0": "tree", "0,0,255": "road", "#FFFFFF": None})
    assert labels.classes == Classes(("road", "tree"), (RED, GREEN))
    assert labels.encoding == {0xFF0000: 0, 0x00FF00: 1, 0x0000FF: 0, 0xFFFFFF: IGNORE_INDEX}
    assert labels.colored
    assert color_code(GREEN) == 0x00FF00


def test_given_colors_win():
    assert own_labels(["a", "b"], [RED, GREEN], {"#000000": "a", "#ffffff": "b"}).classes.colors == (RED, GREEN)


@pytest.mark.parametrize(
    ("names", "colors", "label_ids", "words"),
    [
        (None, None, None, "expected class_names, or label_ids"),
        (["a", "a"], None, None, "class_names: a is there twice"),
        (["a", "void"], None, None, "'void', which stands for ignored pixels"),
        (["a", "b"], [RED], None, "found 1 colors for 2 classes"),
        (["a", "b"], None, {"x": "a"}, "found the key 'x'; expected a label value such as 255, or a color"),
        (["a", "b"], None, {0: "a", "#ffffff": "b"}, "expected one kind"),
        (["a", "b"], None, {0: 2}, r"found the class 2; expected a class name, 0\.\.1, or void"),
        (["a", "b"], None, {0: "a", 1: "c"}, "found the class 'c'. The classes are a, b"),
        (None, None, {"256,0,0": "a", "#ffffff": "b"}, r"color '256,0,0'; expected .* 0\.\.255"),
    ],
)
def test_mistakes_are_told(names, colors, label_ids, words):
    with pytest.raises(UserError, match=words):
        own_labels(names, colors, label_ids)


@pytest.mark.parametrize(
    ("label_ids", "names", "encoding"),
    [
        ({"dog": "cat"}, ("cat", "bird", "fish"), [0, 0, 1, 2]),
        ({"cat": "mammal", "dog": "mammal"}, ("mammal", "bird", "fish"), [0, 0, 1, 2]),
        ({"fish": "void", "bird": None}, ("cat", "dog"), [0, 1, 255, 255]),
        ({1: "cat", 2: "void"}, ("cat", "fish"), [0, 0, 255, 1]),
        ({3: "whale"}, ("cat", "dog", "bird", "whale"), [0, 1, 2, 3]),
        ({"cat": "dog", "dog": "cat"}, ("dog", "cat", "bird", "fish"), [0, 1, 2, 3]),
        ({"bird": 0}, ("cat", "dog", "fish"), [0, 1, 0, 2]),
    ],
)
def test_changed_classes(label_ids, names, encoding):
    labels = changed_labels(plain_labels(PETS), label_ids)
    assert labels.classes.names == names
    assert [labels.encoding[value] for value in range(4)] == encoding
    assert labels.encoding[255] == IGNORE_INDEX
    assert len(set(labels.classes.colors)) == len(names)


def test_remaining_classes_keep_their_colors():
    labels = changed_labels(plain_labels(PETS), {"cat": "mammal", "dog": "mammal", "fish": "bird"})
    assert labels.classes == Classes(("mammal", "bird"), (PETS.colors[0], PETS.colors[2]))


@pytest.mark.parametrize(
    ("key", "words"), [("catt", "did you mean 'cat'"), ("horse", "The classes are cat, dog, bird, fish")]
)
def test_unknown_class_is_told(key, words):
    with pytest.raises(UserError, match=words):
        changed_labels(plain_labels(PETS), {key: "void"})


def test_camvid_with_merged_and_ignored_classes(tmp_path):
    make_camvid(tmp_path, val=1)
    label_ids: dict[str | int, str | int | None] = {"bicyclist": "pedestrian", "fence": "void", 11: "fence"}
    data = CamVidDataModule(tmp_path, label_ids=label_ids)
    assert data.classes == CamVidDataModule.configured_classes(label_ids=label_ids)
    assert data.classes.names == (*(name for name in CamVidDataModule.classes.names[:10] if name != "fence"), "fence")
    stored = np.asarray(Image.open(tmp_path / "valannot" / "val_0.png"))
    expected = np.array([0, 1, 2, 3, 4, 5, 6, 255, 7, 8, 8, 9], np.uint8)[stored]
    assert np.array_equal(data.dataset("val").mask(0), expected)
    assert CamVidDataModule(tmp_path).classes.names[7] == "fence"


def test_values_of_an_unknown_encoding_are_refused(tmp_path):
    with pytest.raises(UserError, match="found the key 40; expected a class of the dataset"):
        NYUDv2DataModule(tmp_path, label_ids={40: "void"})


def test_old_name_of_the_encoding_is_refused():
    with pytest.raises(TypeError, match="now named encoding"):
        type("Old", (CamVidDataModule,), {"label_ids": {0: 0}})
