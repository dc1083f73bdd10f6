"""`refinenet data check`, `stats`, `show` and `ceiling`, on fake data with planted faults."""

import re
import shutil

import numpy as np
import pytest
import yaml
from helpers.commands import refinenet
from helpers.fake_data import blocks, draw_photographs, make_camvid, make_cityscapes, make_voc, save_gray
from PIL import Image

from refinenet_pl.data import CamVidDataModule
from refinenet_pl.data.camvid import CAMVID
from refinenet_pl.data.labels import color_code
from refinenet_pl.evaluation.pictures import STRIPE

COUNTS = {"train": 8, "val": 4, "test": 2}


@pytest.fixture
def camvid(tmp_path, monkeypatch):
    """CamVid of photographs that differ, whose official counts are its own."""
    monkeypatch.setattr(CamVidDataModule, "official_counts", COUNTS)
    monkeypatch.setenv("COLUMNS", "200")
    return draw_photographs(make_camvid(tmp_path / "camvid", **COUNTS, size=(64, 80)))


def check(monkeypatch, capsys, name, root):
    """Return the exit status, the text before the first kind, and the lines of each kind."""
    status = refinenet(monkeypatch, "data", "check", name, root)
    head, *sections = re.split(r"\n\n(?=warning: |problem: )", capsys.readouterr().out)
    kinds = {}
    for section in sections:
        heading, *lines = section.split("\n\n")[0].splitlines()
        kinds[heading] = [line.strip() for line in lines]
    return status, head, kinds


def rows_of(text):
    """Return the cells of a table's rows, by their first cell."""
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]
    return {row[0]: row[1:] for row in rows}


# check --------------------------------------------------------------------------------------------------------------


def test_good_data(camvid, monkeypatch, capsys):
    status, head, kinds = check(monkeypatch, capsys, "camvid", camvid)
    assert status == 0
    assert kinds == {}
    assert head.splitlines()[:4] == [
        f"CamVidDataModule in {camvid}",
        "  train 8 samples, all of the official split",
        "  val   4 samples, all of the official split",
        "  test  2 samples, all of the official split",
    ]
    assert head.splitlines()[-1] == "14 samples read: 0 problems, 0 warnings"


def test_every_fault_is_listed_by_kind(camvid, monkeypatch, capsys):
    train, masks, val = camvid / "train", camvid / "trainannot", camvid / "val"
    save_gray(masks / "train_0.png", np.zeros((32, 40), np.uint8))
    (train / "train_1.png").write_bytes((train / "train_1.png").read_bytes()[:400])
    with Image.open(masks / "train_2.png") as image:
        image.save(masks / "train_2.jpg")
    (masks / "train_2.png").unlink()
    save_gray(masks / "train_3.png", blocks((64, 80), [0, 77, 200], seed=0))
    (masks / "train_4.png").unlink()
    (train / "train_5.png").unlink()
    with Image.open(train / "train_6.png") as image:  # the same pixels in another file, with another name
        image.save(val / "val_0.png", compress_level=0)
    with Image.open(train / "train_7.png") as image:
        image.save(val / "val_1.jpg", quality=85)
    (val / "val_1.png").unlink()
    status, head, kinds = check(monkeypatch, capsys, "camvid", camvid)
    assert status == 1
    broken = kinds["problem: image that cannot be read (1)"]
    assert broken[0].startswith(f"{train / 'train_1.png'}: cannot be read as image")
    lossy = kinds["problem: label image that cannot be read (1)"]
    assert lossy[0].startswith(f"{masks / 'train_2.jpg'}: labels are saved as JPEG")
    near = kinds["warning: nearly the same image in two splits, by perceptual hash (1)"]
    pattern = f"{train / 'train_7.png'} (train) and {val / 'val_1.jpg'} (val): "
    assert near[0].startswith(pattern)
    assert re.fullmatch(r"[0-4] of 64 bits differ", near[0].removeprefix(pattern))
    del kinds["problem: image that cannot be read (1)"], kinds["problem: label image that cannot be read (1)"]
    assert kinds == {
        "warning: part of an official split, whose metrics differ from published ones (1)": [
            "train: 6 samples; the official split has 8"
        ],
        "warning: nearly the same image in two splits, by perceptual hash (1)": near,
        "problem: missing file (2)": [
            f"{train / 'train_4.png'}: no label image",
            f"{masks / 'train_5.png'}: no image",
        ],
        "problem: label image of another size than its image (height x width) (1)": [
            f"{masks / 'train_0.png'}: 32 x 40, but {train / 'train_0.png'} is 64 x 80"
        ],
        "problem: label value that is no class (1)": [f"{masks / 'train_3.png'}: 77, 200"],
        "problem: same image in two splits (1)": [f"{train / 'train_6.png'} (train) and {val / 'val_0.png'} (val)"],
    }
    assert "  train 6 samples; the official split has 8\n" in head


def test_more_samples_than_official(camvid, monkeypatch, capsys):
    monkeypatch.setattr(CamVidDataModule, "official_counts", {"train": 7, "val": 5, "test": 2})
    status, _, kinds = check(monkeypatch, capsys, "camvid", camvid)
    assert status == 1
    assert kinds == {
        "warning: part of an official split, whose metrics differ from published ones (1)": [
            "val: 4 samples; the official split has 5"
        ],
        "problem: more samples than the official split (1)": ["train: 8 samples; the official split has 7"],
    }


def test_near_images_and_subsets_are_warnings(camvid, monkeypatch, capsys):
    with Image.open(camvid / "train" / "train_0.png") as image:
        image.resize((84, 66)).resize((80, 64)).save(camvid / "val" / "val_0.png")
    (camvid / "test").rename(camvid.parent / "elsewhere")
    status, head, kinds = check(monkeypatch, capsys, "camvid", camvid)
    assert status == 0
    assert f"  test  not checked: {camvid / 'test'}: no such folder" in head
    assert [*kinds] == ["warning: nearly the same image in two splits, by perceptual hash (1)"]


def test_private_labels_are_no_problem(tmp_path, monkeypatch, capsys):
    root = make_voc(tmp_path, ["a", "b"], ["c"])
    status, head, kinds = check(monkeypatch, capsys, "voc", root)
    assert status == 0
    assert "  test  not checked: VOC's test labels are not public." in head
    assert kinds["warning: part of an official split, whose metrics differ from published ones (2)"] == [
        "train: 2 samples; the official split has 1,464",
        "val: 1 samples; the official split has 1,449",
    ]


def test_long_lists_are_cut(camvid, monkeypatch, capsys):
    for index in range(25):
        shutil.copy(camvid / "train" / "train_0.png", camvid / "train" / f"more_{index:02}.png")
    status, _, kinds = check(monkeypatch, capsys, "camvid", camvid)
    assert status == 1
    lines = kinds["problem: missing file (25)"]
    assert lines[0] == f"{camvid / 'train' / 'more_00.png'}: no label image"
    assert len(lines) == 21
    assert lines[20] == "and 5 more"


def test_absent_class_is_a_warning(camvid, monkeypatch, capsys):
    for path in (camvid / "valannot").iterdir():
        save_gray(path, blocks((64, 80), [*range(9), 10, 11], seed=0))
    status, _, kinds = check(monkeypatch, capsys, "camvid", camvid)
    assert status == 0
    assert kinds == {"warning: class without pixels (1)": ["val: pedestrian"]}


def test_no_data_at_all(tmp_path, monkeypatch, capsys):
    assert refinenet(monkeypatch, "data", "check", "cityscapes", tmp_path) == 2
    assert "train: no such folder" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives_are_checked(kind, tmp_path, monkeypatch, capsys):
    root = make_cityscapes(tmp_path / "cityscapes")
    path = next((root / "gtFine" / "val").glob("*/*_labelIds.png"))
    save_gray(path, np.full((32, 64), 99, np.uint8))
    packed = shutil.make_archive(str(tmp_path / "packed"), kind, root)
    status, _, kinds = check(monkeypatch, capsys, "cityscapes", packed)
    assert status == 1
    assert kinds["problem: label value that is no class (1)"] == [f"{packed}/{path.relative_to(root)}: 99"]


def test_own_lists_with_mistakes_are_problems(camvid, monkeypatch, capsys):
    (camvid / "mine.txt").write_text("val_0\nnobody\n")
    init_args = {"root": str(camvid), "val_list": "mine.txt"}
    config = camvid.parent / "own.yaml"
    config.write_text(yaml.safe_dump({"data": {"class_path": "CamVidDataModule", "init_args": init_args}}))
    assert refinenet(monkeypatch, "data", "check", config) == 1
    out = capsys.readouterr().out
    assert re.search(r"problem: split that cannot be listed \(1\)\n  val: .*mine\.txt: 1 of its names .*: nobody", out)


# stats --------------------------------------------------------------------------------------------------------------


def test_stats_table(camvid, monkeypatch, capsys):
    for path in (camvid / "trainannot").iterdir():
        labels = np.asarray(Image.open(path)).copy()
        labels[labels == CAMVID.names.index("fence")] = 0
        save_gray(path, labels)
    assert refinenet(monkeypatch, "data", "stats", "camvid", camvid) == 0
    out = capsys.readouterr().out
    rows = rows_of(out)
    masks = np.stack([np.asarray(Image.open(path)) for path in (camvid / "trainannot").iterdir()])
    for index, name in enumerate(CAMVID.names):
        pixels = (masks == index).sum()
        inverse_log = 1 / np.log(1.02 + pixels / (masks < 11).sum())
        assert rows[name] == [
            *(str(index), f"{pixels:,}", f"{100 * pixels / masks.size:.3f}"),
            # Without a fence, this formula gives no class a weight.
            *(str((masks == index).any((1, 2)).sum()), "–", f"{inverse_log:.3f}"),
        ]
    ignored = (masks == 11).sum()
    assert rows["ignored"][:3] == ["11, 255", f"{ignored:,}", f"{100 * ignored / masks.size:.3f}"]
    assert "smallest 64 x 80, median 64 x 80, largest 64 x 80; 1 different" in out
    assert "median_frequency: weight(c) = median of freq" in out


def test_stats_of_faulty_data(camvid, monkeypatch, capsys):
    save_gray(camvid / "valannot" / "val_0.png", np.zeros((9, 9), np.uint8))
    assert refinenet(monkeypatch, "data", "stats", "camvid", camvid, "--split=val") == 2
    assert "val_0.png: 9 x 9, but " in capsys.readouterr().err


# show ---------------------------------------------------------------------------------------------------------------


def sheets(monkeypatch, folder, root, *options):
    assert refinenet(monkeypatch, "data", "show", "camvid", root, "-o", folder, *options) == 0
    return {path.stem: np.asarray(Image.open(path)) for path in sorted(folder.iterdir())}


def test_sheets_depend_on_the_seed_alone(camvid, tmp_path, monkeypatch):
    first, again = (sheets(monkeypatch, tmp_path / name, camvid, "--count=3") for name in "ab")
    assert [*first] == ["augmented", "labels"]
    assert all(np.array_equal(first[kind], again[kind]) for kind in first)
    other = sheets(monkeypatch, tmp_path / "c", camvid, "--count=3", "--seed=1")
    assert not np.array_equal(first["augmented"], other["augmented"])
    assert not np.array_equal(first["labels"], other["labels"])


def test_sheet_has_all_class_colors(camvid, tmp_path, monkeypatch):
    pixels = sheets(monkeypatch, tmp_path / "a", camvid, "--count=20")["labels"]
    red, green, blue = np.moveaxis(pixels.astype(int), -1, 0)
    assert {color_code(color) for color in (*CAMVID.colors, STRIPE)} <= {*np.unique(red << 16 | green << 8 | blue)}


def test_only_training_samples_are_augmented(camvid, tmp_path, monkeypatch):
    assert [*sheets(monkeypatch, tmp_path / "a", camvid, "--split=val")] == ["labels"]


@pytest.mark.parametrize("link", [False, True])
def test_show_replaces_no_input(link, camvid, tmp_path, monkeypatch, capsys):
    image = camvid / "train" / "train_0.png"
    if link:
        output = tmp_path / "out"
        output.mkdir()
        (output / "labels.png").symlink_to(image)
    else:
        output = camvid / "train"
        image = image.rename(output / "labels.png")
        (camvid / "trainannot" / "train_0.png").rename(camvid / "trainannot" / "labels.png")
    before = image.read_bytes()
    assert refinenet(monkeypatch, "data", "show", "camvid", camvid, "-o", output) == 2
    assert f"{image}: this input would be replaced" in capsys.readouterr().err
    assert image.read_bytes() == before


# ceiling ------------------------------------------------------------------------------------------------------------


def test_ceiling_of_stripes(camvid, monkeypatch, capsys):
    # Stripes of 4 pixels, in 64 x 80 pixels: 20 stripes, moved by d, leave 20 (4 - d) columns right and 19 d wrong.
    for path in (camvid / "valannot").iterdir():
        save_gray(path, (np.arange(80) // 4 % 2).astype(np.uint8)[None].repeat(64, 0))
    assert refinenet(monkeypatch, "data", "ceiling", "camvid", camvid) == 0
    out = capsys.readouterr().out
    rows = rows_of(out)

    def moved(by):
        right, wrong = 10 * (4 - by), 19 * by
        return f"{100 * (1 + right / (right + wrong)) / 2:.2f}"

    assert rows["sky"] == ["100.00", "50.00", rows["sky"][2], moved(1), moved(2)]
    assert rows["building"] == ["100.00", "0.00", rows["building"][2], moved(1), moved(2)]
    assert rows["pole"] == ["–"] * 5
    assert rows["mean IoU"][:2] == ["100.00", "25.00"]
    assert rows["mean IoU"][3:] == [moved(1), moved(2)]
    assert out.startswith(f"CamVidDataModule in {camvid}, val: ceiling of IoU % on 4 images\n")


@pytest.mark.parametrize("command", ["check", "stats", "ceiling"])
def test_no_workers_are_refused(command, camvid, monkeypatch, capsys):
    assert refinenet(monkeypatch, "data", command, "camvid", camvid, "--workers=0") == 2
    assert "workers: Not of type PositiveInt: 0" in capsys.readouterr().err
