"""PASCAL-Context in its three forms."""

import json
import shutil
from itertools import pairwise

import numpy as np
import pytest
from helpers.fake_data import blocks, make_pascal_context
from PIL import Image
from scipy.io import savemat

from refinenet_pl.data import PascalContextDataModule
from refinenet_pl.data.classes import voc_colors
from refinenet_pl.data.labels import color_code
from refinenet_pl.data.pascal_context import PASCAL_CONTEXT, RAW_IDS
from refinenet_pl.errors import UserError
from refinenet_pl.images import read_mask

# The ids of the classes in alphabetical order, as mmsegmentation's converter lists them.
ALPHABETICAL = [
    *(2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113, 115, 144, 158, 159),
    *(162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354, 355, 360, 366, 368),
    *(397, 415, 416, 420, 424, 427, 440, 445, 454, 458),
]
# The order of PASCAL in Detail (its evaluation), which the light-weight networks' authors use.
DETAIL = [
    *(2, 23, 25, 31, 34, 45, 59, 65, 72, 98, 397, 113, 207, 258, 284, 308, 347, 368, 416, 427, 9, 18, 22, 33, 44, 46),
    *(68, 80, 85, 104, 115, 144, 158, 159, 162, 187, 189, 220, 232, 259, 260, 105, 296, 355, 295, 324, 326, 349, 354),
    *(360, 366, 19, 415, 420, 424, 440, 445, 454, 458),
]


def test_ids_and_names_agree():
    assert [*RAW_IDS.values()] == DETAIL
    assert [RAW_IDS[name] for name in sorted(RAW_IDS)] == ALPHABETICAL


def test_alphabetical_label_images(tmp_path):
    make_pascal_context(tmp_path, ["a", "b"], ["c"])
    dataset = PascalContextDataModule(tmp_path).dataset("val")
    stored = np.asarray(Image.open(str(dataset.samples[0].mask)))
    names = np.array(["background", *sorted(RAW_IDS)])[stored]
    assert np.array_equal(np.array(PASCAL_CONTEXT.names)[dataset.mask(0)], names)


def test_59_classes(tmp_path):
    make_pascal_context(tmp_path, ["a", "b"], ["c"])
    whole = PascalContextDataModule(tmp_path).dataset("val").mask(0).astype(int)
    data = PascalContextDataModule(tmp_path, background=False, label_ids={"snow": "void", "wood": "tree"})
    assert len(data.classes) == 57
    assert data.classes == PascalContextDataModule.configured_classes({"snow": "void", "wood": "tree"}, False)
    assert "background" not in data.classes.names
    old = np.array([*PASCAL_CONTEXT.names])[whole]
    found = data.dataset("val").mask(0)
    expected = np.where(np.isin(old, ["background", "snow"]), "void", np.where(old == "wood", "tree", old))
    assert np.array_equal(np.array([*data.classes.names, *["?"] * 198, "void"])[found], expected)


def test_raw_label_maps(tmp_path):
    make_pascal_context(tmp_path, ["a", "b"], ["c"])
    shutil.rmtree(tmp_path / "VOCdevkit" / "VOC2010" / "SegmentationClassContext")
    (tmp_path / "trainval").mkdir()
    values = np.array([0, 2, 397, 458, 459, 1], np.uint16)
    raw = values[blocks((40, 54), range(6), seed=3)]
    for name in "abc":
        savemat(tmp_path / "trainval" / f"{name}.mat", {"LabelMap": raw})
    mask = PascalContextDataModule(tmp_path).dataset("val").mask(0)
    names = {0: "background", 2: "aeroplane", 397: "table", 458: "wood", 459: "background", 1: "background"}
    assert np.array_equal(np.array(PASCAL_CONTEXT.names)[mask], np.vectorize(names.get)(raw))


def runs_of(mask):
    """Run lengths of a mask in column order, which start with the zeros."""
    flat = np.concatenate([[False], mask.T.ravel(), [False]])
    ends = np.flatnonzero(np.diff(flat.astype(int)))
    bounds = [0, *ends, mask.size]
    return [int(stop - start) for start, stop in pairwise(bounds)]


def make_json(root, tmp_labels):
    images, annotations = [], []
    for number, (name, labels) in enumerate(tmp_labels.items()):
        height, width = labels.shape
        phase = "val" if name == "c" else "train"
        images.append(
            {"image_id": number, "file_name": f"{name}.jpg", "phase": phase, "height": height, "width": width}
        )
        for category in np.unique(labels[labels > 0]).tolist():
            shape = {"counts": runs_of(labels == category), "size": [height, width]}
            annotations.append({"image_id": number, "category_id": category, "segmentation": shape})
    (root / "trainval_merged.json").write_text(json.dumps({"images": images, "annos_segmentation": annotations}))


def test_json_is_converted_once(tmp_path):
    make_pascal_context(tmp_path, ["a", "b"], ["c"])
    devkit = tmp_path / "VOCdevkit" / "VOC2010"
    sizes = {name: Image.open(devkit / "JPEGImages" / f"{name}.jpg").size for name in "abc"}
    for folder in (devkit / "SegmentationClassContext", devkit / "ImageSets"):
        shutil.rmtree(folder)
    values = np.array([0, 2, 9, 458, 300])
    labels = {name: values[blocks(size[::-1], range(5), seed=ord(name))] for name, size in sizes.items()}
    make_json(tmp_path, labels)
    data = PascalContextDataModule(tmp_path)
    data.convert()
    names = {0: "background", 2: "aeroplane", 9: "bag", 458: "wood", 300: "background"}
    assert np.array_equal(
        np.array(PASCAL_CONTEXT.names)[data.dataset("val").mask(0)], np.vectorize(names.get)(labels["c"])
    )
    assert [sample.name for sample in data.dataset("train").samples] == ["a", "b"]
    written = devkit / "SegmentationClassContext" / "a.png"
    before = written.stat().st_mtime_ns
    PascalContextDataModule(tmp_path).convert()
    assert written.stat().st_mtime_ns == before


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"images": [{}], "annos_segmentation": []}'])
def test_other_json_is_refused(content, tmp_path):
    make_pascal_context(tmp_path, ["a"], ["c"])
    (tmp_path / "trainval_merged.json").write_bytes(content)
    with pytest.raises(UserError, match=r"trainval_merged\.json: cannot be read"):
        PascalContextDataModule(tmp_path).convert()


def test_missing_images_are_told(tmp_path):
    with pytest.raises(UserError, match=r"VOC2010/JPEGImages: no such folder(.|\n)*pascal-context"):
        PascalContextDataModule(tmp_path).dataset("train")


def test_real_samples_have_these_colors(real_data):
    index_of = {color_code(color): index for index, color in enumerate(voc_colors(60))}
    found = {
        path.stem: {PASCAL_CONTEXT.names[index_of[code]] for code in np.unique(read_mask(path, colored=True)).tolist()}
        for path in (real_data / "samples" / "pascal_context").glob("*.png")
    }
    assert found["2008_008376"] == {"bird", "grass", "ground", "water", "wood"}
    assert found["2010_003321"] == {"cloth", "dog", "floor", "person", "table", "wall"}
