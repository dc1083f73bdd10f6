"""Archives for the evaluation servers, made by the real command and read back; and what is refused."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import fit_options, only_run, refinenet, refinenet_process
from helpers.fake_data import PALETTE, blocks, make_camvid, make_cityscapes, make_voc, save_gray
from PIL import Image

from refinenet_pl.data.cityscapes import EVALUATED_IDS
from refinenet_pl.data.submissions import SUBMISSIONS, check_archive, write_archive
from refinenet_pl.errors import UserError

CITYSCAPES = SUBMISSIONS["cityscapes"]
VOC_NAMES = ["2008_000006", "2009_000123", "2011_001234"]


def trained(root: Path, data: str, folder: Path) -> Path:
    """A checkpoint of a tiny network, whose classifier was drawn anew so that it predicts many classes."""
    with pytest.MonkeyPatch.context() as patch:
        assert refinenet(patch, "fit", *fit_options(root, folder, data), "--trainer.max_epochs=1") == 0
    path = only_run(folder) / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path)
    torch.manual_seed(0)
    checkpoint["state_dict"]["network.segmentation_head.0.weight"].normal_()
    torch.save(checkpoint, path)
    return path


@pytest.fixture(scope="module")
def cityscapes(tmp_path_factory):
    """The dataset and a checkpoint."""
    root = make_cityscapes(tmp_path_factory.mktemp("data") / "cityscapes")
    return root, trained(root, "CityscapesDataModule", tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    """The dataset, whose images are of three sizes, and a checkpoint."""
    root = make_voc(tmp_path_factory.mktemp("data") / "voc", train=VOC_NAMES[:2], val=VOC_NAMES[2:])
    return root, trained(root, "VOCDataModule", tmp_path_factory.mktemp("runs"))


def predict(checkpoint: Path, images: Path, output: Path, *options: str) -> list[str | Path]:
    return ["predict", "--ckpt_path", checkpoint, "--images", images, "--output", output, *options]


def pictures(archive: Path) -> dict[str, Image.Image]:
    """The pictures in an archive by their paths in it."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as file:
            return {name: Image.open(io.BytesIO(file.read(name))) for name in file.namelist()}
    with tarfile.open(archive, "r:gz") as tar:
        files = {member.name: tar.extractfile(member) for member in tar}
        return {name: Image.open(io.BytesIO(file.read())) for name, file in files.items() if file}


def test_no_archive_without_all_images(cityscapes, tmp_path, monkeypatch, capsys):
    root, checkpoint = cityscapes
    shutil.copytree(root / "leftImg8bit" / "test", tmp_path / "images")
    (tmp_path / "images" / "bonn" / "bonn_000000_000019_leftImg8bit.png").write_bytes(b"")
    options = predict(checkpoint, tmp_path / "images", tmp_path / "out", "--submission=cityscapes")
    assert refinenet(monkeypatch, *options) == 1
    assert "1 file could not be read" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["berlin_000000_000019_leftImg8bit.png"]


def test_submission_keeps_the_photographs(cityscapes, tmp_path, monkeypatch, capsys):
    images = tmp_path / "bonn"
    shutil.copytree(cityscapes[0] / "leftImg8bit" / "test" / "bonn", images)
    (before,) = [path.read_bytes() for path in images.iterdir()]
    assert refinenet(monkeypatch, *predict(cityscapes[1], images, images, "--submission=cityscapes")) == 2
    assert "this input would be replaced" in capsys.readouterr().err
    assert [path.read_bytes() for path in images.iterdir()] == [before]


def test_cityscapes_archive_holds_label_ids(cityscapes, tmp_path, monkeypatch, capsys):
    root, checkpoint = cityscapes
    images = root / "leftImg8bit" / "test"
    assert refinenet(monkeypatch, *predict(checkpoint, images, tmp_path, "--submission=cityscapes")) == 0
    printed = capsys.readouterr().out
    assert f"{tmp_path}/cityscapes.zip: 2 images, sizes and values checked" in printed
    assert "warning: the test set has 1525 images" in printed
    assert "predicted" not in printed

    assert refinenet(monkeypatch, *predict(checkpoint, images, tmp_path / "plain")) == 0
    packed = pictures(tmp_path / "cityscapes.zip")
    assert set(packed) == {f"{city}_000000_000019_leftImg8bit.png" for city in ("berlin", "bonn")}
    for name, picture in packed.items():
        train_ids = np.asarray(Image.open(tmp_path / "plain" / "masks" / name.split("_")[0] / name))
        assert len(np.unique(train_ids)) > 3
        assert (picture.mode, picture.size) == ("L", (64, 32))
        np.testing.assert_array_equal(np.asarray(picture), np.vectorize(EVALUATED_IDS.__getitem__)(train_ids))
        assert (tmp_path / name).is_file()
    assert not list(tmp_path.glob("*.tmp"))


def test_voc_archive_holds_palette_pngs(voc, tmp_path, monkeypatch, capsys):
    root, checkpoint = voc
    images = root / "VOCdevkit" / "VOC2012" / "JPEGImages"
    assert refinenet(monkeypatch, *predict(checkpoint, images, tmp_path, "--submission=voc")) == 0
    assert "warning: the test set has 1456 images" in capsys.readouterr().out
    assert refinenet(monkeypatch, *predict(checkpoint, images, tmp_path / "plain")) == 0
    packed = pictures(tmp_path / "results.tgz")
    assert set(packed) == {f"results/VOC2012/Segmentation/comp6_test_cls/{name}.png" for name in VOC_NAMES}
    for name, picture in packed.items():
        indices = np.asarray(Image.open(tmp_path / "plain" / "masks" / Path(name).name))
        assert len(np.unique(indices)) > 3
        assert picture.mode == "P"
        assert picture.size == Image.open(images / f"{Path(name).stem}.jpg").size
        np.testing.assert_array_equal(np.asarray(picture), indices)


def test_two_processes_pack_what_one_does(cityscapes, tmp_path, monkeypatch):
    root, checkpoint = cityscapes
    images = root / "leftImg8bit"  # six images, of all splits
    assert refinenet(monkeypatch, *predict(checkpoint, images, tmp_path / "one", "--submission=cityscapes")) == 0
    two = ["--submission=cityscapes", "--trainer.devices=2", "--trainer.strategy=ddp"]
    done = refinenet_process(tmp_path, *predict(checkpoint, images, tmp_path / "two", *two))
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("submission: ") == 1
    first, second = (pictures(tmp_path / name / "cityscapes.zip") for name in ("one", "two"))
    assert first.keys() == second.keys()
    assert len(first) == 6
    assert all(picture.tobytes() == second[name].tobytes() for name, picture in first.items())


def test_cityscapes_scores_archive_as_validate(cityscapes, tmp_path, monkeypatch):
    pytest.importorskip("cityscapesscripts")
    root, checkpoint = make_cityscapes(tmp_path / "cityscapes"), cityscapes[1]
    for seed, path in enumerate(root.glob("gtFine/val/*/*_labelIds.png")):
        save_gray(path, blocks((32, 64), range(34), seed, block=4))  # their evaluation does not know 255
    validate = ["validate", "--ckpt_path", checkpoint, f"--data.root={root}", "--runs", tmp_path / "runs"]
    assert refinenet(monkeypatch, *validate) == 0
    images = root / "leftImg8bit" / "val"
    assert refinenet(monkeypatch, *predict(checkpoint, images, tmp_path, "--submission=cityscapes")) == 0
    with zipfile.ZipFile(tmp_path / "cityscapes.zip") as archive:
        archive.extractall(tmp_path / "sent")

    folders = {"DATASET": root, "RESULTS": tmp_path / "sent", "EXPORT_DIR": tmp_path}
    environment = os.environ | {f"CITYSCAPES_{name}": str(folder) for name, folder in folders.items()}
    # Their scores of instances, which need a numpy before 2.4, are not asked for.
    module = "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling"
    code = f"import {module} as evaluation; evaluation.args.evalInstLevelScore = False; evaluation.main()"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    theirs = json.loads((tmp_path / "resultPixelLevelSemanticLabeling.json").read_text())
    ours = json.loads((only_run(tmp_path / "runs") / "results.json").read_text())
    matrix = np.array(theirs["confMatrix"])
    np.testing.assert_array_equal(matrix[np.ix_(EVALUATED_IDS, EVALUATED_IDS)], ours["confusion_matrix"])
    assert ours["miou"] > 0
    assert theirs["averageScoreClasses"] == pytest.approx(ours["miou"], rel=1e-12)
    for name, iou in ours["per_class_iou"].items():
        assert theirs["classScores"][name] == pytest.approx(iou, rel=1e-12), name


def test_ids_match_cityscapesscripts():
    labels = pytest.importorskip("cityscapesscripts.helpers.labels")
    ids = [labels.trainId2label[index].id for index in range(19)]
    names = [labels.trainId2label[index].name for index in range(19)]
    assert (list(CITYSCAPES.values), list(CITYSCAPES.classes.names)) == (ids, names)


def test_other_classes_are_refused(tmp_path, monkeypatch, capsys):
    checkpoint = trained(make_camvid(tmp_path / "camvid"), "CamVidDataModule", tmp_path / "runs")
    images = make_cityscapes(tmp_path / "cityscapes") / "leftImg8bit" / "test"
    assert refinenet(monkeypatch, *predict(checkpoint, images, tmp_path / "out", "--submission=cityscapes")) == 2
    assert "predicts 11 classes (sky, building, pole" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_repeated_names_are_refused(cityscapes, tmp_path, monkeypatch, capsys):
    root, checkpoint = cityscapes
    name = "berlin_000000_000019_leftImg8bit.png"
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes((root / "leftImg8bit" / "test" / "berlin" / name).read_bytes())
    assert refinenet(monkeypatch, *predict(checkpoint, tmp_path, tmp_path / "out", "--submission=cityscapes")) == 2
    assert re.search(rf"first/{name} and .*second/{name} would both be {name}", capsys.readouterr().err)


@pytest.mark.parametrize("server", ["cityscapes", "voc"])
def test_unscored_image_is_refused(server):
    with pytest.raises(UserError, match=r"holiday\.jpg: the server scores"):
        SUBMISSIONS[server].members({"day/holiday": Path("day/holiday.jpg")})


@pytest.mark.slow
def test_full_test_set_has_no_warning(cityscapes, tmp_path, monkeypatch, capsys):
    root, checkpoint = cityscapes
    image = (root / "leftImg8bit" / "test" / "bonn" / "bonn_000000_000019_leftImg8bit.png").read_bytes()
    (tmp_path / "test").mkdir()
    for index in range(CITYSCAPES.images):
        (tmp_path / "test" / f"bonn_000000_{index:06}_leftImg8bit.png").write_bytes(image)
    options = predict(checkpoint, tmp_path / "test", tmp_path / "out", "--submission=cityscapes")
    assert refinenet(monkeypatch, *options) == 0
    printed = capsys.readouterr().out
    assert "1525 images" in printed
    assert "warning" not in printed


# The check of an archive --------------------------------------------------------------------------------------------


@pytest.fixture
def members(tmp_path):
    """Two images of 8 x 6 pixels, by their file names in the archive."""
    found = {}
    for index in range(2):
        stem = f"bonn_000000_00000{index}_leftImg8bit"
        Image.new("RGB", (8, 6)).save(tmp_path / f"{stem}.png")
        found[f"{stem}.png"] = tmp_path / f"{stem}.png"
    return found


def png(value: int = 7, size: tuple[int, int] = (8, 6), mode: str = "L") -> bytes:
    image = Image.new(mode, size, value)
    if mode == "P":
        image.putpalette(PALETTE.tobytes())
    content = io.BytesIO()
    image.save(content, format="PNG")
    return content.getvalue()


def zipped(path: Path, contents: list[tuple[str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents:
            archive.writestr(name, content)
    return path


def test_check_accepts_good_archive(members, tmp_path):
    contents = [(name, png(id)) for name, id in zip(members, (7, 33), strict=True)]
    check_archive(CITYSCAPES, zipped(tmp_path / "good.zip", contents), members)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (png(size=(6, 8)), r"is \(6, 8\) pixels, but .*_000001_leftImg8bit\.png is \(8, 6\)"),
        (png(value=9), "contains 9; expected only 7, 8, 11,"),
        (png(value=255), "contains 255; expected only"),
        (png(mode="P"), "has mode P; expected L"),
        (png()[:40], "cannot be read as PNG"),
    ],
    ids=["size", "value", "ignored", "palette", "damaged"],
)
def test_check_names_bad_file(members, tmp_path, content, complaint):
    first, second = members
    archive = zipped(tmp_path / "bad.zip", [(first, png()), (second, content)])
    with pytest.raises(UserError, match=rf"bad\.zip: {re.escape(second)} {complaint}"):
        check_archive(CITYSCAPES, archive, members)


def test_write_archive_takes_strings(members, tmp_path):
    (tmp_path / "out").mkdir()
    for name in members:
        (tmp_path / "out" / name).write_bytes(png())
    images = {name: str(image) for name, image in members.items()}
    archive = write_archive(CITYSCAPES, str(tmp_path / "out"), images)
    assert archive == tmp_path / "out" / "cityscapes.zip"
    check_archive(CITYSCAPES, str(archive), images)
    assert sorted(pictures(archive)) == sorted(members)


def test_check_names_missing_files(members, tmp_path):
    first, second = members
    with pytest.raises(UserError, match=rf"1 of 2 files are missing: {re.escape(second)}\."):
        check_archive(CITYSCAPES, zipped(tmp_path / "bad.zip", [(first, png())]), members)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("more", ["bonn_000000_000000_leftImg8bit.png", "notes.png"])
def test_check_names_unexpected_files(members, tmp_path, more):
    contents = [(name, png()) for name in [*members, more]]
    with pytest.raises(UserError, match=f"{re.escape(more)} is a duplicate, or belongs to no image"):
        check_archive(CITYSCAPES, zipped(tmp_path / "bad.zip", contents), members)


def test_ignored_value_is_refused(tmp_path):
    Image.new("RGB", (8, 6)).save(tmp_path / "2008_000006.jpg")
    members = SUBMISSIONS["voc"].members({"2008_000006": tmp_path / "2008_000006.jpg"})
    archive = zipped(tmp_path / "bad.zip", [(next(iter(members)), png(value=255, mode="P"))])
    with pytest.raises(UserError, match="contains 255; expected only"):
        check_archive(SUBMISSIONS["voc"], archive, members)
