"""List files: as editors write them, and the files that their lines mean."""

import numpy as np
import pytest
from helpers.fake_data import save_image, save_list

from refinenet_pl.data.lists import find_image, listed_names, listed_samples
from refinenet_pl.errors import UserError

LINES = "a\nb\nc\n"


@pytest.mark.parametrize(
    "content",
    [
        LINES.encode(),
        LINES.encode("utf-8-sig"),
        LINES.encode("utf-16"),
        "\ufeff".encode("utf-16-be") + LINES.encode("utf-16-be"),
        LINES.replace("\n", " \r\n").encode() + b"\r\n\x1a",
        LINES.replace("\n", "\r").encode(),
        b"\n\na\n  b\t\n\nc",
    ],
)
def test_lists_of_any_editor(tmp_path, content):
    (tmp_path / "train.txt").write_bytes(content)
    assert listed_names(tmp_path / "train.txt") == ["a", "b", "c"]


@pytest.mark.parametrize("content", ["é\n".encode("latin-1"), LINES.encode("utf-16-le"), bytes(range(256))])
def test_unknown_encoding_is_refused(tmp_path, content):
    (tmp_path / "train.txt").write_bytes(content)
    with pytest.raises(UserError, match=r"train\.txt: .*Save it as UTF-8"):
        listed_names(tmp_path / "train.txt")


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".jpeg", ".png", ".PNG", ".tif"])
def test_image_of_any_suffix_is_found(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.touch()
    assert find_image(tmp_path, "a", ".jpg") == path


def test_missing_image_has_the_usual_suffix(tmp_path):
    assert find_image(tmp_path, "a", ".jpg") == tmp_path / "a.jpg"


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        (["i/a/1.jpg l/a/1.png", "i/b/2.jpg l/b/2.png"], ["1", "2"]),
        (["i/a/1.jpg l/a/1.png", "i/b/1.jpg l/b/1.png"], ["i/a/1", "i/b/1"]),
        (["/i/a/1.jpg /l/a/1.png", "/i/b/1.jpg /l/b/1.png"], ["i/a/1", "i/b/1"]),
        (["a/1", "b/1"], ["a/1", "b/1"]),
    ],
)
def test_names_are_unique(tmp_path, lines, names):
    save_list(tmp_path / "train.txt", lines)
    assert [sample.name for sample in listed_samples(tmp_path / "train.txt", "images", "masks")] == names


def test_names_with_folders(tmp_path):
    save_image(tmp_path / "images" / "a" / "1.PNG", np.array([[0]]))
    save_list(tmp_path / "train.txt", ["a/1"])
    (sample,) = listed_samples(tmp_path / "train.txt", "images", "masks")
    assert sample.image == tmp_path / "images" / "a" / "1.PNG"
    assert sample.mask == tmp_path / "masks" / "a" / "1.png"
