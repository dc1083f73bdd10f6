"""The cache of decoded samples gives the samples of the files, and survives changes, broken files and full disks."""

import os
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import fit_options, only_run, refinenet
from helpers.fake_data import make_camvid, make_cityscapes, make_voc
from torchvision.transforms import v2

from refinenet_pl.data import CamVidDataModule, CityscapesDataModule, SegmentationDataModule, VOCDataModule
from refinenet_pl.data.decoded_cache import decoded_cache
from refinenet_pl.errors import UserError
from refinenet_pl.files import read_json
from refinenet_pl.runs import RunFolder

OPTIONS: dict[str, Any] = {"num_workers": 0, "batch_size": 2, "crop_size": (32, 48)}


def camvid(folder: Path, **options: Any) -> SegmentationDataModule:
    root = make_camvid(folder / "camvid")
    return CamVidDataModule(root, **OPTIONS | options)


def zipped(folder: Path, **options: Any) -> SegmentationDataModule:
    make_camvid(folder / "plain")
    shutil.make_archive(str(folder / "zip" / "camvid"), "zip", folder / "plain")
    return CamVidDataModule(folder / "zip", **OPTIONS | options)


def cityscapes(folder: Path, **options: Any) -> SegmentationDataModule:
    return CityscapesDataModule(make_cityscapes(folder / "cityscapes"), **OPTIONS | {"batch_size": 1} | options)


def voc(folder: Path, **options: Any) -> SegmentationDataModule:
    return VOCDataModule(make_voc(folder / "voc", ["a", "b"], ["c"]), **OPTIONS | options)


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a["name"] == b["name"] and all(torch.equal(a[key], b[key]) for key in ("image", "mask"))


@pytest.mark.parametrize("make", [camvid, zipped, cityscapes, voc])
def test_every_sample_is_the_same(tmp_path: Path, make: Any) -> None:
    plain, cached = make(tmp_path), make(tmp_path, cache_dir=tmp_path / "cache")
    for split in ("train", "val"):
        a, b = plain.dataset(split).plain(), cached.dataset(split).plain()
        assert len(a) == len(b) > 0
        assert all(
            same(a[index], b[index]) and type(a[index]["image"]) is type(b[index]["image"]) for index in range(len(a))
        )
        assert all(np.array_equal(a.mask(index), b.mask(index)) for index in range(len(a)))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_with_any_workers(tmp_path: Path, workers: int) -> None:
    torch.manual_seed(3)
    own = {"transforms": [v2.RandomRotation(20)], "color_jitter": 0.3}
    expected = list(camvid(tmp_path, **own).train_dataloader())
    cached = camvid(tmp_path, cache_dir=tmp_path / "cache", **own | {"num_workers": workers})
    found = list(cached.train_dataloader())
    assert len(found) == len(expected) > 0
    assert all(same(a, b) for a, b in zip(found, expected, strict=True))
    evaluated = zip(cached.val_dataloader(), camvid(tmp_path).val_dataloader(), strict=True)
    assert all(same(a, b) for [a], [b] in evaluated)


def test_files_are_read_once(tmp_path: Path) -> None:
    options: dict[str, Any] = {"cache_dir": tmp_path / "cache"}
    first = camvid(tmp_path, **options).dataset("val").plain()[0]
    image = tmp_path / "camvid" / "val" / f"{first['name']}.png"
    status = image.stat()
    image.write_bytes(bytes(status.st_size))  # no image any more, but of the same size and time
    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))
    again = CamVidDataModule(tmp_path / "camvid", **OPTIONS, **options)
    assert same(again.dataset("val").plain()[0], first)


def test_changed_files_and_labels_are_read_again(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = camvid(tmp_path, cache_dir=cache).dataset("val").plain()
    image = first.samples[0].image
    shutil.copyfile(str(first.samples[1].image), str(image))
    os.utime(str(image), ns=(1, 1))
    changed = CamVidDataModule(tmp_path / "camvid", cache_dir=cache, **OPTIONS).dataset("val").plain()
    assert torch.equal(changed[0]["image"], changed[1]["image"])
    assert not torch.equal(changed[0]["image"], first[0]["image"])  # the older cache is as it was
    merged = CamVidDataModule(tmp_path / "camvid", cache_dir=cache, label_ids={"road": "sky"}, **OPTIONS)
    plain = CamVidDataModule(tmp_path / "camvid", label_ids={"road": "sky"}, **OPTIONS)
    assert same(merged.dataset("val").plain()[0], plain.dataset("val").plain()[0])


def test_transforms_do_not_change_the_cache(tmp_path: Path) -> None:
    dataset = camvid(tmp_path, cache_dir=tmp_path / "cache").dataset("val")
    before = dataset[0]["image"].clone()
    dataset[0]["image"].zero_()
    again = camvid(tmp_path, cache_dir=tmp_path / "cache").dataset("val")
    assert torch.equal(again[0]["image"], before)


def test_a_process_gets_no_copy_of_the_pixels(tmp_path: Path) -> None:
    dataset = camvid(tmp_path, cache_dir=tmp_path / "cache").dataset("val")
    before = dataset[0]
    packed = pickle.dumps(dataset)
    assert len(packed) < before["image"].numel()
    assert same(pickle.loads(packed)[0], before)


def test_a_full_disk_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = camvid(tmp_path, cache_dir=tmp_path / "cache")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2**30 + 100))
    with pytest.raises(UserError, match=r"the decoded samples need 0\.0 GB, but .*cache has 1\.1 GB free"):
        data.dataset("train")
    assert not [file for file in (tmp_path / "cache").iterdir() if file.suffix != ".lock"]


def test_a_broken_sample_is_named_and_nothing_is_kept(tmp_path: Path) -> None:
    data = camvid(tmp_path, cache_dir=tmp_path / "cache")
    broken = tmp_path / "camvid" / "val" / "val_1.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"val_1\.png: cannot be read as image"):
        data.dataset("val")
    assert not [file for file in (tmp_path / "cache").iterdir() if file.suffix != ".lock"]
    tolerant = CamVidDataModule(tmp_path / "camvid", cache_dir=tmp_path / "cache", skip_broken=1, **OPTIONS)
    tolerant.setup("validate")
    assert [sample.name for sample in tolerant.dataset("val").samples] == ["val_0", "val_2"]
    assert tolerant.dataset("val").cache is not None


def test_a_damaged_cache_is_refused(tmp_path: Path) -> None:
    camvid(tmp_path, cache_dir=tmp_path / "cache").dataset("val")
    (file,) = (tmp_path / "cache").glob("*.pixels")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match=rf"expected {file.stat().st_size + 1}; delete .*{file.stem}"):
        CamVidDataModule(tmp_path / "camvid", cache_dir=tmp_path / "cache", **OPTIONS).dataset("val")


def build(root: Path, cache: Path) -> int:
    dataset = CamVidDataModule(root, **OPTIONS).dataset("train").plain()
    return int(decoded_cache(cache, dataset).image(0).sum())


def test_processes_that_build_at_the_same_time(tmp_path: Path) -> None:
    root = make_camvid(tmp_path / "camvid", train=8)
    with ProcessPoolExecutor(3, get_context("spawn")) as pool:
        sums = [pool.submit(build, root, tmp_path / "cache") for _ in range(3)]
        assert len({job.result() for job in sums}) == 1
    assert sorted(file.suffix for file in (tmp_path / "cache").iterdir()) == [".json", ".lock", ".pixels"]


def test_fit_gives_the_same_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_camvid(tmp_path / "camvid")
    results = []
    for name, options in (("plain", []), ("cached", [f"--data.cache_dir={tmp_path / 'cache'}"])):
        runs = tmp_path / name
        assert refinenet(monkeypatch, "fit", *fit_options(root, runs), *options, "--trainer.max_epochs=1") == 0
        run = RunFolder(only_run(runs))
        results.append((read_json(run.results, ""), read_json(run.path / "first_steps.json", "")))
    (a, a_steps), (b, b_steps) = results
    assert a["confusion_matrix"] == b["confusion_matrix"]
    assert a["fingerprint"] == b["fingerprint"]
    assert a_steps == b_steps
    assert len([*(tmp_path / "cache").glob("*.pixels")]) == 2
    more = ("--trainer.max_epochs=2", "--experiment=more", f"--runs={tmp_path / 'more'}")
    assert refinenet(monkeypatch, "fit", "--ckpt_path", run.last_checkpoint, *more) == 0
