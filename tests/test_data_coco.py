"""COCO in the classes of PASCAL VOC."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import refinenet
from helpers.fake_data import make_coco
from PIL import Image

from refinenet_pl.data import COCODataModule, coco_raw
from refinenet_pl.data.classes import VOC, voc_colors
from refinenet_pl.data.coco_raw import CATEGORIES, INDEX_OF
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


def names(data, split):
    return [int(sample.name) for sample in data.samples(split)]


def converted(root, **options):
    data = COCODataModule(root, **options)
    data.convert()
    return data


def change(root, split, edit):
    """Edit the annotation file of a split."""
    path = root / "annotations" / f"instances_{split}2017.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    return path


def test_categories_are_voc_s():
    assert tuple(CATEGORIES.values()) == VOC.names[1:]
    assert {key: RENAMED.get(name, name) for key, name in COCO_NAMES.items()} == CATEGORIES
    # CAT_LIST of torchvision's reference training; the place in it is the class index.
    listed = [0, 5, 2, 16, 9, 44, 6, 3, 17, 62, 21, 67, 18, 19, 4, 1, 64, 20, 63, 7, 72]
    assert {category: index for index, category in enumerate(listed) if category} == INDEX_OF


def test_instances_are_converted_once(tmp_path):
    make_coco(tmp_path)
    data = COCODataModule(tmp_path)
    with pytest.raises(UserError, match=r"not converted yet. Run once: refinenet data prepare coco"):
        data.dataset("train")
    data.convert()
    dataset = data.dataset("train")
    expected = np.zeros((60, 80), np.uint8)
    expected[10:50, 10:50] = VOC.names.index("person")
    expected[30:55, 40:70] = VOC.names.index("dog")
    expected[30:50, 40:50] = 255  # two objects
    expected[:, 75:77] = 255  # a crowd
    np.testing.assert_array_equal(dataset.mask(0), expected)
    mask = tmp_path / "voc_masks" / "train2017" / "000000000007.png"
    assert np.array_equal(np.array(Image.open(mask).getpalette()).reshape(-1, 3)[:21], voc_colors(21))
    before = mask.stat().st_mtime_ns
    COCODataModule(tmp_path).convert()
    assert mask.stat().st_mtime_ns == before


def test_pixels_of_two_objects_are_ignored(tmp_path):
    generator = np.random.default_rng(3)
    expected, objects = np.zeros((60, 80), int), np.zeros((60, 80), int)
    annotations = []
    for category in generator.choice(list(INDEX_OF), 12).tolist():
        top, left = generator.integers(0, 50), generator.integers(0, 70)
        bottom, right = generator.integers(top + 2, 60), generator.integers(left + 2, 80)
        expected[top:bottom, left:right] = INDEX_OF[category]
        objects[top:bottom, left:right] += 1
        outline = [left, top, right, top, right, bottom, left, bottom]
        annotations.append(
            {
                "image_id": 107,
                "category_id": category,
                "iscrowd": 0,
                "area": 5000,
                "segmentation": [[*map(int, outline)]],
            }
        )
    expected[objects > 1] = 255
    make_coco(tmp_path)
    change(tmp_path, "val", lambda content: content.update(annotations=annotations))
    np.testing.assert_array_equal(converted(tmp_path).dataset("val").mask(0), expected)
    assert {0, 255} < {*expected.ravel().tolist()}


def test_training_images_show_enough(tmp_path):
    make_coco(tmp_path)

    def edit(content):
        for annotation in content["annotations"]:  # three objects of VOC's classes in each image
            annotation["area"] = {7: 1000 / 3, 8: 1000.5 / 3, 9: 0.1}[annotation["image_id"]]

    change(tmp_path, "train", edit)
    data = converted(tmp_path)
    assert names(data, "train") == [8]
    assert names(data, "val") == [107, 108, 199]  # all of them
    assert names(COCODataModule(tmp_path, min_pixels=0), "train") == [7, 8, 9]
    assert names(COCODataModule(tmp_path, min_pixels=-1), "train") == [7, 8, 9, 99]


def test_interrupted_conversion_goes_on(tmp_path, monkeypatch):
    make_coco(tmp_path)
    write = coco_raw.write_label_image
    written: list[Path] = []

    def stop_after_two(path, values):
        if len(written) == 2:
            raise KeyboardInterrupt
        write(path, values)
        written.append(path)

    monkeypatch.setattr(coco_raw, "write_label_image", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        COCODataModule(tmp_path).convert()
    with pytest.raises(UserError, match="not converted yet"):
        COCODataModule(tmp_path).samples("train")
    monkeypatch.undo()
    before = [path.stat().st_mtime_ns for path in written]
    assert names(converted(tmp_path), "train") == [7, 8, 9]
    assert [path.stat().st_mtime_ns for path in written] == before


def test_zip_files_are_read_in_place(tmp_path):
    make_coco(tmp_path / "folder")
    (tmp_path / "zips").mkdir()
    for name in ("train2017", "val2017", "annotations"):
        shutil.make_archive(str(tmp_path / "zips" / name), "zip", tmp_path / "folder", name)
    packed, unpacked = (converted(tmp_path / name) for name in ("zips", "folder"))
    for split in ("train", "val"):
        for first, second in zip(packed.samples(split), unpacked.samples(split), strict=True):
            assert first.name == second.name
            assert first.image.read_bytes() == second.image.read_bytes()
            assert first.mask.read_bytes() == second.mask.read_bytes()
    found = sorted(path.name for path in (tmp_path / "zips").iterdir())
    assert found == ["annotations.zip", "train2017.zip", "val2017.zip", "voc_masks"]
    shutil.make_archive(str(tmp_path / "all"), "zip", tmp_path / "folder", "annotations")
    with pytest.raises(UserError, match=r"all\.zip: is in an archive.*Set data\.root to the folder"):
        COCODataModule(tmp_path / "all.zip").convert()


def test_prepare_converts_and_counts(tmp_path, monkeypatch, capsys):
    assert refinenet(monkeypatch, "data", "prepare", "coco", tmp_path) == 2
    assert "instances_train2017.json: no such file" in capsys.readouterr().err
    make_coco(tmp_path)
    (tmp_path / "annotations" / "instances_train2017.json").unlink()
    assert refinenet(monkeypatch, "data", "prepare", "coco", tmp_path) == 1  # not the official number
    rows = [line.split("│")[1:4] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in row] for row in rows] == [["val", "3", "5,000"]]


@pytest.mark.parametrize(
    "damage",
    [
        {"segmentation": [[1, 2, 3, 4]]},
        {"segmentation": [[0, 0, 1e9, 0, 1e9, 1e9]]},
        {"segmentation": {"counts": [1], "size": [60, 80]}},
        {"segmentation": {"counts": [1], "size": [5, 5]}},
        {"segmentation": []},
        {"segmentation": None},
        {"area": "x"},
        {"area": 10**400},
        {"image_id": [7]},
    ],
)
def test_damaged_annotations_are_told(damage, tmp_path):
    make_coco(tmp_path)
    change(tmp_path, "train", lambda content: content["annotations"][0].update(damage))
    with pytest.raises(UserError, match=r"instances_train2017\.json: cannot be read as COCO's instances"):
        COCODataModule(tmp_path).convert()


@pytest.mark.parametrize("size", [(10**6, 10**6), (0, 80), (-60, -80), (60.5, 80)])
def test_impossible_sizes_are_told(size, tmp_path):
    make_coco(tmp_path)
    change(tmp_path, "train", lambda content: content["images"][0].update(height=size[0], width=size[1]))
    with pytest.raises(UserError, match=r"instances_train2017\.json: cannot be read as COCO's instances"):
        COCODataModule(tmp_path).convert()


def test_too_large_files_are_refused(tmp_path, monkeypatch):
    make_coco(tmp_path)
    monkeypatch.setattr(coco_raw, "MAX_BYTES", 1000)
    with pytest.raises(UserError, match=r"instances_train2017\.json: has [\d,]+ bytes; expected .* at most 1,000"):
        COCODataModule(tmp_path).convert()


def test_damaged_list_is_told(tmp_path):
    converted(make_coco(tmp_path))
    (tmp_path / "voc_masks" / "val2017.txt").write_text("000000000007\n")
    with pytest.raises(UserError, match=r"val2017\.txt: expected the name of an image and the area.*Delete it"):
        COCODataModule(tmp_path).samples("val")


def test_names_cannot_lead_outside(tmp_path):
    make_coco(tmp_path / "coco", val=0)
    change(tmp_path / "coco", "train", lambda content: content["images"][0].update(file_name="../../../out.jpg"))
    COCODataModule(tmp_path / "coco").convert()
    assert [path.parent.name for path in tmp_path.rglob("out.png")] == ["train2017"]


def test_test_split_is_refused(tmp_path):
    with pytest.raises(UserError, match="test labels are not public"):
        COCODataModule(tmp_path).samples("test")
