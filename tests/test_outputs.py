"""Where outputs may be written."""

import os
from pathlib import Path

import pytest

from refinenet_pl.errors import UserError
from refinenet_pl.outputs import Output, check_outputs


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photos" / "a.png"
    path.parent.mkdir()
    path.write_bytes(b"photo")
    return path


def test_new_and_old_results_are_fine(photo, tmp_path):
    check_outputs([Output(tmp_path / "new" / "a.png", photo)], "--output")
    assert not (tmp_path / "new").exists()
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a.png").write_bytes(b"older result")
    check_outputs([Output(tmp_path / "new" / "a.png", photo)], "--output")


@pytest.mark.parametrize("way", ["itself", "another way", "a linked folder", "input is a link", "target of a link"])
def test_inputs_are_never_replaced(photo, tmp_path, way):
    source, path = photo, photo
    (tmp_path / "link").symlink_to(photo.parent)
    (tmp_path / "linked.png").symlink_to(photo)
    if way == "another way":
        path = tmp_path / "photos" / ".." / "photos" / "a.png"
    elif way == "a linked folder":
        path = tmp_path / "link" / "a.png"
    elif way == "input is a link":
        source = path = tmp_path / "linked.png"
    elif way == "target of a link":
        source = tmp_path / "linked.png"
    with pytest.raises(UserError, match=r"this input would be replaced by the result of .*Choose another --output"):
        check_outputs([Output(tmp_path / "free.png", source), Output(path, source)], "--output")


def test_another_input_is_not_replaced(photo, tmp_path):
    other = tmp_path / "b.png"
    other.touch()
    with pytest.raises(UserError, match=r"a\.png: this input would be replaced by the result of .*b\.png"):
        check_outputs([Output(tmp_path / "x.png", photo), Output(photo, other)], "--output")


def test_two_results_of_one_path(photo, tmp_path):
    other = tmp_path / "b.png"
    with pytest.raises(UserError, match=r"a\.png and .*b\.png: both would be written to .*x\.png"):
        check_outputs([Output(tmp_path / "x.png", photo), Output(tmp_path / "x.png", other)], "--output")
    assert sorted(os.listdir(tmp_path)) == ["photos"]


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nope", "x" * 300])
def test_impossible_folders_are_told(photo, tmp_path, place):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(UserError, match="cannot write into this folder"):
        check_outputs([Output(tmp_path / place / "a.png", photo)], "--output")
    assert (tmp_path / "file").read_bytes() == b"old"


def test_folder_in_place_of_a_file(photo, tmp_path):
    (tmp_path / "out" / "a.png").mkdir(parents=True)
    with pytest.raises(UserError, match="is a folder"):
        check_outputs([Output(tmp_path / "out" / "a.png", photo)], "--output")
