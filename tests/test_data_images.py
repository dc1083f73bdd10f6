from pathlib import Path

import pytest
from helpers.fake_data import blocks, save_image
from PIL import Image

from refinenet_pl.data.images import ImageDataset, find_images
from refinenet_pl.errors import UserError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_folders_are_searched_through_and_names_are_paths_in_them(tmp_path):
    touch(tmp_path / "b.PNG", tmp_path / "a.jpg", tmp_path / "day" / "one" / "a.webp", tmp_path / "notes.txt")
    assert [sample.name for sample in find_images([tmp_path])] == ["a", "b", "day/one/a"]


@pytest.mark.parametrize("suffix", ["jpg", "JPG", "jpeg", "png", "bmp", "tif", "TIFF", "webp"])
def test_images_are_told_by_their_suffix_in_any_case(tmp_path, suffix):
    touch(tmp_path / f"a.{suffix}")
    assert len(find_images([tmp_path])) == 1


def test_dots_in_names_are_kept(tmp_path):
    touch(tmp_path / "frame.0001.png", tmp_path / "frame.0002.png")
    assert [sample.name for sample in find_images([tmp_path])] == ["frame.0001", "frame.0002"]


def test_files_and_folders_may_be_mixed_and_keep_their_order(tmp_path):
    touch(tmp_path / "z.png", tmp_path / "folder" / "a.png")
    assert [sample.name for sample in find_images([tmp_path / "z.png", tmp_path / "folder"])] == ["z", "a"]


@pytest.mark.parametrize(("first", "second"), [("a.jpg", "a.png"), ("x/a.png", "y/a.png")])
def test_two_images_of_one_name_are_an_error_that_names_both(tmp_path, first, second):
    touch(tmp_path / first, tmp_path / second)
    paths = [tmp_path] if "/" not in first else [tmp_path / "x", tmp_path / "y"]
    with pytest.raises(UserError, match=f"{first}.*{second}.*'a'"):
        find_images(paths)


def test_a_missing_path_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.png: no such file or folder"):
        find_images([tmp_path / "nothing.png"])


def test_a_folder_without_images_is_an_error_that_lists_the_suffixes(tmp_path):
    touch(tmp_path / "a.gif", tmp_path / "._a.png")
    with pytest.raises(UserError, match=r"no images in this folder.*\.bmp \.jpeg \.jpg"):
        find_images([tmp_path])


def test_images_come_upright_with_their_name_and_without_labels(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.new("RGB", (8, 6)).save(tmp_path / "a.jpg", exif=exif)
    save_image(tmp_path / "b.png", blocks((5, 9), range(3), seed=0))
    dataset = ImageDataset(find_images([tmp_path]))
    assert [dataset[index]["name"] for index in range(len(dataset))] == ["a", "b"]
    assert [tuple(dataset[index]["image"].shape) for index in range(2)] == [(3, 8, 6), (3, 5, 9)]
    assert "mask" not in dataset[0]


def test_a_file_that_is_no_image_is_an_error_when_read(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(UserError, match=r"a\.txt: cannot be read as image"):
        ImageDataset(find_images([tmp_path / "a.txt"]))[0]
