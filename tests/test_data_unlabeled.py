"""Finding and reading images without labels."""

import hashlib
from pathlib import Path

import pytest
from helpers.fake_data import blocks, save_image
from PIL import Image

from refinenet_pl.data.unlabeled import ImageDataset, ImagesDataModule, find_images
from refinenet_pl.errors import UserError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_folders_are_searched(tmp_path):
    touch(tmp_path / "b.PNG", tmp_path / "a.jpg", tmp_path / "day" / "one" / "a.webp", tmp_path / "notes.txt")
    assert [sample.name for sample in find_images([tmp_path])] == ["a", "b", "day/one/a"]


@pytest.mark.parametrize("suffix", ["jpg", "JPG", "jpeg", "png", "bmp", "tif", "TIFF", "webp"])
def test_suffixes_in_any_case(tmp_path, suffix):
    touch(tmp_path / f"a.{suffix}")
    assert len(find_images([tmp_path])) == 1


def test_dots_in_names_are_kept(tmp_path):
    touch(tmp_path / "frame.0001.png", tmp_path / "frame.0002.png")
    assert [sample.name for sample in find_images([tmp_path])] == ["frame.0001", "frame.0002"]


def test_order_of_paths_is_kept(tmp_path):
    touch(tmp_path / "z.png", tmp_path / "folder" / "a.png")
    assert [sample.name for sample in find_images([tmp_path / "z.png", tmp_path / "folder"])] == ["z", "a"]


def test_paths_may_be_strings(tmp_path):
    touch(tmp_path / "a.png", tmp_path / "b.png")
    expected = find_images([tmp_path])
    assert find_images([str(tmp_path)]) == find_images(str(tmp_path)) == find_images(tmp_path) == expected
    assert ImagesDataModule(str(tmp_path)).dataset.samples == expected


@pytest.mark.parametrize(("first", "second"), [("a.jpg", "a.png"), ("x/a.png", "y/a.png")])
def test_duplicate_names_are_refused(tmp_path, first, second):
    touch(tmp_path / first, tmp_path / second)
    paths = [tmp_path] if "/" not in first else [tmp_path / "x", tmp_path / "y"]
    with pytest.raises(UserError, match=f"{first}.*{second}.*'a'"):
        find_images(paths)


def test_missing_path_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.png: no such file or folder"):
        find_images([tmp_path / "nothing.png"])


def test_empty_folder_lists_suffixes(tmp_path):
    touch(tmp_path / "a.gif", tmp_path / "._a.png")
    with pytest.raises(UserError, match=r"no images in this folder.*\.bmp \.jpeg \.jpg"):
        find_images([tmp_path])


def test_samples_are_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.new("RGB", (8, 6)).save(tmp_path / "a.jpg", exif=exif)
    save_image(tmp_path / "b.png", blocks((5, 9), range(3), seed=0))
    dataset = ImageDataset(find_images([tmp_path]))
    assert [dataset[index]["name"] for index in range(len(dataset))] == ["a", "b"]
    assert [tuple(dataset[index]["image"].shape) for index in range(2)] == [(3, 8, 6), (3, 5, 9)]
    assert "mask" not in dataset[0]


def test_broken_file_is_a_sample_with_an_error(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    sample = ImageDataset(find_images([tmp_path / "a.txt"]))[0]
    assert sample["name"] == "a"
    assert "a.txt: cannot be read as image" in sample["error"]
    assert "image" not in sample


def test_samples_name_their_content(tmp_path):
    save_image(tmp_path / "a.png", blocks((5, 9), range(3), seed=0))
    expected = hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()
    assert ImageDataset(find_images(tmp_path))[0]["source"] == expected


def test_links_are_followed_once(tmp_path):
    touch(tmp_path / "store" / "b.png", tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "linked").symlink_to(tmp_path / "store")
    (tmp_path / "photos" / "linked.png").symlink_to(tmp_path / "store" / "b.png")
    (tmp_path / "store" / "back").symlink_to(tmp_path / "photos")  # a circle
    assert [sample.name for sample in find_images(tmp_path / "photos")] == ["a", "linked/b", "linked"]
