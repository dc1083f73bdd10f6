"""What `data check` looks at: files, label values, hashes, splits; and the statistics of `data stats`."""

from functools import partial

import numpy as np
import pytest
import torch
from helpers.fake_data import blocks, draw_photographs, make_camvid, make_nyudv2, make_voc, save_gray
from PIL import Image

from refinenet_pl.data import CamVidDataModule, NYUDv2DataModule, VOCDataModule
from refinenet_pl.data import parallel as parallel_module
from refinenet_pl.data.findings import find
from refinenet_pl.data.inspection import inspect
from refinenet_pl.data.near_duplicates import NearPair, near_duplicates, perceptual_hash
from refinenet_pl.data.pairs import images_in, pair
from refinenet_pl.data.parallel import map_samples
from refinenet_pl.data.split_errors import AbsentSplit, IncompleteSplit
from refinenet_pl.data.split_statistics import split_statistics
from refinenet_pl.data.splits import Split
from refinenet_pl.errors import Fault, UserError

# Hashes -------------------------------------------------------------------------------------------------------------


def test_hash_compares_neighboring_cells():
    cells = np.random.default_rng(0).permutation(72).reshape(8, 9) * 3
    image = Image.fromarray(np.kron(cells, np.ones((5, 4))).astype(np.uint8)).convert("RGB")
    expected = [cells[row, column + 1] < cells[row, column] for row in range(8) for column in range(8)]
    found = perceptual_hash(image)
    assert found is not None
    assert found.tolist() == expected


@pytest.mark.parametrize("change", ["jpeg", "half", "brighter"])
def test_changed_image_is_near(change, tmp_path):
    values = np.random.default_rng(1).integers(40, 180, (12, 16), dtype=np.uint8)
    image = Image.fromarray(values).resize((320, 240), Image.Resampling.BICUBIC).convert("RGB")
    if change == "jpeg":
        image.save(tmp_path / "copy.jpg", quality=40)
        copy = Image.open(tmp_path / "copy.jpg").convert("RGB")
    else:
        copy = image.resize((160, 120)) if change == "half" else image.point(lambda value: value + 30)
    first, second = perceptual_hash(image), perceptual_hash(copy)
    assert len(near_duplicates([first], [second])) == 1


def test_flat_images_have_no_hash():
    noise = np.random.default_rng(2).integers(100, 104, (80, 90, 3), dtype=np.uint8)
    assert perceptual_hash(Image.fromarray(noise)) is None


def test_distances_are_numpy_s(monkeypatch):
    monkeypatch.setattr("refinenet_pl.data.near_duplicates.BLOCK", 3)  # several blocks
    random = np.random.default_rng(3)
    first = [*(random.random((7, 64)) < 0.5), None]
    second = [None]
    for hashed, flips in zip(first[:7], [0, 1, 4, 5, 9, 2, 64], strict=True):
        changed = hashed.copy()
        changed[random.choice(64, flips, replace=False)] ^= True
        second.append(changed)
    expected = [
        NearPair(a, b, int((one != other).sum()))
        for a, one in enumerate(first)
        for b, other in enumerate(second)
        if one is not None and other is not None and (one != other).sum() <= 4
    ]
    assert near_duplicates(first, second) == sorted(expected, key=lambda found: found.bits)
    assert [(found.first, found.second) for found in expected] == [(0, 1), (1, 2), (2, 3), (5, 6)]
    assert near_duplicates([None], second) == near_duplicates(first, []) == []


# Splits -------------------------------------------------------------------------------------------------------------


def test_incomplete_pairs_keep_the_rest(tmp_path):
    make_camvid(tmp_path)
    (tmp_path / "train" / "train_1.png").unlink()
    (tmp_path / "trainannot" / "train_3.png").unlink()
    with pytest.raises(IncompleteSplit, match="2 of 4 samples lack") as caught:
        pair(images_in(tmp_path / "train"), images_in(tmp_path / "trainannot"), "here")
    assert [sample.name for sample in caught.value.complete] == ["train_0", "train_2"]
    assert caught.value.missing == [
        f"{tmp_path / 'trainannot' / 'train_1.png'}: no image",
        f"{tmp_path / 'train' / 'train_3.png'}: no label image",
    ]


def test_incomplete_lists_keep_the_rest(tmp_path):
    make_voc(tmp_path, ["a", "b"], ["c"])
    missing = tmp_path / "VOCdevkit/VOC2012/SegmentationClass/a.png"
    missing.unlink()
    with pytest.raises(IncompleteSplit) as caught:
        VOCDataModule(tmp_path).samples("train")
    assert [sample.name for sample in caught.value.complete] == ["b"]
    assert caught.value.missing == [f"{missing}: listed, but there is no such file"]


def test_missing_split_is_absent(tmp_path):
    draw_photographs(make_camvid(tmp_path))
    (tmp_path / "test").rename(tmp_path / "elsewhere")
    with pytest.raises(AbsentSplit, match="no such folder"):
        CamVidDataModule(tmp_path).samples("test")
    findings = find(CamVidDataModule(tmp_path), 1)
    assert findings.splits["test"].startswith(f"not checked: {tmp_path / 'test'}: no such folder")
    assert findings.problems == {}


def test_faults_of_a_divided_dataset_are_told_once(tmp_path):
    draw_photographs(make_camvid(tmp_path, train=8))
    (tmp_path / "train" / "train_1.png").unlink()
    findings = find(CamVidDataModule(tmp_path, split=Split(folds=2, fold=0, stratify=False)), 1)
    assert findings.problems == {"missing file": [f"{tmp_path / 'trainannot' / 'train_1.png'}: no image"]}
    assert "not checked: which samples it has is unknown" in findings.splits["val"]


def test_divided_dataset_has_no_official_counts(tmp_path):
    draw_photographs(make_camvid(tmp_path, train=8, val=1))
    findings = find(CamVidDataModule(tmp_path, split=Split(folds=2, fold=0, stratify=False)), 1)
    assert findings.splits["train"] == findings.splits["val"] == "4 samples"
    assert findings.splits["test"] == "2 samples; the official split has 233"
    assert findings.problems == {}


def test_validation_on_test_images_is_no_overlap(tmp_path):
    findings = find(NYUDv2DataModule(make_nyudv2(tmp_path)), 1)
    assert findings.splits["test"] == "the same samples as val; the official split has 654"
    assert findings.problems == {}
    assert findings.samples == 3


def test_unknown_encoding_does_not_hide_other_faults(tmp_path):
    make_nyudv2(tmp_path, values=(1, 2))  # neither 255 nor 40: from zero or from one
    (tmp_path / "images" / "000003.png").write_bytes(b"no image")
    problems = find(NYUDv2DataModule(tmp_path), 1).problems
    assert [*problems] == [
        "unknown encoding of the label images; their values are not checked",
        "image that cannot be read",
    ]
    assert "000003.png: cannot be read as image" in problems["image that cannot be read"][0]


# Processes ----------------------------------------------------------------------------------------------------------


def square(offset: int, index: int) -> tuple[int, int]:
    return index**2 + offset, torch.get_num_threads()


@pytest.mark.slow
def test_processes_keep_the_order(monkeypatch):
    monkeypatch.setattr(parallel_module, "SAMPLES_PER_PROCESS", 5)
    expected = [(index**2 + 7, 1) for index in range(11)]
    assert map_samples(partial(square, 7), 11, 2, "") == expected


def stop(index: int) -> None:
    import os

    os._exit(1)


@pytest.mark.slow
def test_killed_process_is_a_fault(monkeypatch):
    monkeypatch.setattr(parallel_module, "SAMPLES_PER_PROCESS", 1)
    with pytest.raises(Fault, match="a process that reads samples was killed"):
        map_samples(stop, 2, 2, "")


def test_torch_keeps_its_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    assert map_samples(partial(square, 0), 2, 1, "") == [(0, 1), (1, 1)]
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)


# Statistics ---------------------------------------------------------------------------------------------------------


def test_statistics_are_numpy_s(tmp_path):
    make_voc(tmp_path, ["a", "b", "c", "d"], ["e"])  # images of different sizes
    dataset = VOCDataModule(tmp_path).dataset("train").plain()
    statistics = split_statistics(inspect(dataset, 1, ""), 21)
    devkit = tmp_path / "VOCdevkit/VOC2012"
    labels = [np.asarray(Image.open(devkit / "SegmentationClass" / f"{name}.png")) for name in "abcd"]
    pixels = np.concatenate(
        [np.asarray(Image.open(devkit / "JPEGImages" / f"{name}.jpg")).reshape(-1, 3) for name in "abcd"]
    )
    np.testing.assert_allclose(statistics.mean, (pixels / 255).mean(0), rtol=1e-12)
    np.testing.assert_allclose(statistics.deviation, (pixels / 255).std(0), rtol=1e-12)
    assert statistics.sizes == [(40, 50), (43, 51), (46, 52), (49, 53)]
    assert statistics.ignored == sum((mask == 255).sum() for mask in labels)
    assert statistics.ignored_images == sum((mask == 255).any() for mask in labels)
    for index in range(21):
        occurs = [mask for mask in labels if (mask == index).any()]
        assert statistics.counts.pixels[index] == sum((mask == index).sum() for mask in labels)
        assert statistics.counts.images[index] == len(occurs)
        assert statistics.counts.pixels_in_images[index] == sum((mask != 255).sum() for mask in occurs)


def test_statistics_of_real_camvid(real_data):
    dataset = CamVidDataModule(real_data / "camvid").dataset("val").plain()
    dataset.samples = dataset.samples[::10]
    statistics = split_statistics(inspect(dataset, 1, ""), 11)
    images = np.stack([np.asarray(Image.open(str(sample.image))) for sample in dataset.samples])
    np.testing.assert_allclose(statistics.mean, images.mean((0, 1, 2)) / 255, rtol=1e-9)
    np.testing.assert_allclose(statistics.deviation, images.std((0, 1, 2)) / 255, rtol=1e-6)
    assert {*statistics.sizes} == {(360, 480)}


def test_statistics_refuse_faults(tmp_path):
    make_camvid(tmp_path)
    save_gray(tmp_path / "trainannot" / "train_0.png", blocks((48, 64), [77], 0))
    facts = inspect(CamVidDataModule(tmp_path).dataset("train").plain(), 1, "")
    with pytest.raises(UserError, match=r"1 samples have faults.*train_0\.png: 77.*refinenet data check"):
        split_statistics(facts, 11)
