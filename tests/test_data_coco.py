"""COCO in the classes of PASCAL VOC."""

import json

import numpy as np
import pytest
from helpers.fake_data import make_coco
from PIL import Image

from refinenet_pl.data import COCODataModule
from refinenet_pl.data.classes import VOC, voc_colors
from refinenet_pl.data.coco_raw import CATEGORIES
from refinenet_pl.errors import UserError

# COCO's names of its categories, from the annotation files.
COCO_NAMES = {
    1: "person",
    2: "bicycle",
    3: "car",
    4: "motorcycle",
    5: "airplane",
    6: "bus",
    7: "train",
    9: "boat",
    16: "bird",
    17: "cat",
    18: "dog",
    19: "horse",
    20: "sheep",
    21: "cow",
    44: "bottle",
    62: "chair",
    63: "couch",
    64: "potted plant",
    67: "dining table",
    72: "tv",
}
RENAMED = {
    "airplane": "aeroplane",
    "motorcycle": "motorbike",
    "couch": "sofa",
    "potted plant": "pottedplant",
    "dining table": "diningtable",
    "tv": "tvmonitor",
}


def test_categories_are_voc_s():
    assert tuple(CATEGORIES.values()) == VOC.names[1:]
    assert {key: RENAMED.get(name, name) for key, name in COCO_NAMES.items()} == CATEGORIES


def test_instances_are_converted_once(tmp_path):
    make_coco(tmp_path)
    data = COCODataModule(tmp_path)
    with pytest.raises(UserError, match=r"not converted yet. Run once: refinenet data prepare coco"):
        data.dataset("train")
    data.convert()
    dataset = data.dataset("train")
    assert [sample.name for sample in dataset.samples] == [f"{index:012}" for index in (7, 8, 9)]  # 99 has no object
    expected = np.zeros((60, 80), np.uint8)
    expected[10:50, 10:50] = VOC.names.index("person")
    expected[30:55, 40:70] = VOC.names.index("dog")
    expected[30:50, 40:50] = 255  # two objects
    expected[:, 75:77] = 255  # a crowd
    np.testing.assert_array_equal(dataset.mask(0), expected)
    mask = tmp_path / "voc_masks" / "train2017" / "000000000007.png"
    assert (Image.open(mask).getpalette() or [])[:63] == np.array(voc_colors(21)).ravel().tolist()
    before = mask.stat().st_mtime_ns
    COCODataModule(tmp_path).convert()
    assert mask.stat().st_mtime_ns == before


def test_small_objects_leave_an_image_out(tmp_path):
    make_coco(tmp_path)
    path = tmp_path / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        if annotation["image_id"] == 7:
            annotation["area"] = 333  # three objects of VOC's classes: 999
    path.write_text(json.dumps(content))
    data = COCODataModule(tmp_path)
    data.convert()
    assert [sample.name for sample in data.dataset("val").samples] == ["000000000008"]


@pytest.mark.parametrize(
    "change",
    [
        {"segmentation": [[1, 2, 3, 4]]},
        {"segmentation": {"counts": [1], "size": [5, 5]}},
        {"segmentation": []},
        {"segmentation": None},
        {"area": "x"},
    ],
)
def test_damaged_annotations_are_told(change, tmp_path):
    make_coco(tmp_path)
    path = tmp_path / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0] |= change
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"instances_train2017\.json: cannot be read as COCO's instances"):
        COCODataModule(tmp_path).convert()


def test_names_cannot_lead_outside(tmp_path):
    make_coco(tmp_path / "coco", val=0)
    path = tmp_path / "coco" / "annotations" / "instances_train2017.json"
    path.write_text(path.read_text().replace("000000000007.jpg", "../../../out.jpg"))
    COCODataModule(tmp_path / "coco").convert()
    assert not list(tmp_path.rglob("../out.png"))
    assert (tmp_path / "coco" / "voc_masks" / "train2017" / "out.png").is_file()
