import pytest

from refinenet_pl.errors import UserError
from refinenet_pl.files import atomic_write, path_inside, read_json, read_yaml


def test_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("first")
        assert not path.exists()
    assert path.read_text() == "first"

    def write_half() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("sec")
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        write_half()
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"[1, 2]", b"a: b: c", b"\xff\xfe", None])
def test_bad_yaml_is_refused(tmp_path, content):
    path = tmp_path / "some.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"study: .*some\.yaml"):
        read_yaml(path, "study")


@pytest.mark.parametrize("content", [b"[1, 2]", b"{a: 1}", b"\xff\xfe", b"[" * 100_000, None])
def test_bad_json_is_refused(tmp_path, content):
    path = tmp_path / "some.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"some\.json: .*; make it anew"):
        read_json(path, "make it anew")


@pytest.mark.parametrize("name", ["a.png", "a/b.png", "a b.png", "..a.png", "...", "a/./b.png", "é.png", "x" * 150])
def test_ordinary_names_are_taken(tmp_path, name):
    path = path_inside(tmp_path, name)
    with atomic_write(path) as temporary:
        temporary.touch()
    assert path.resolve() == (tmp_path / name).resolve()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a", "a/../../b", "a/../b", "/a", "//a", "C:a", "C:/a", "a\0", "a\n"]
)
def test_names_that_lead_outside(tmp_path, name):
    with pytest.raises(UserError, match="cannot be the name of a file in"):
        path_inside(tmp_path, name)


@pytest.mark.parametrize("name", ["x" * 252 + ".png", "x" * 300 + "/a.png", "é" * 120 + ".png"])
def test_names_too_long_to_write(tmp_path, name):
    with pytest.raises(UserError, match="too long"):
        path_inside(tmp_path, name)
