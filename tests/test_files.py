import pytest

from refinenet_pl.errors import UserError
from refinenet_pl.files import atomic_write, read_json, read_yaml


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
