"""Properties of names and paths: whatever a list, an archive or a command names stays in its folder."""

import ntpath
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.per_image import leads_outside
from refinenet_pl.files import atomic_write, path_inside
from refinenet_pl.outputs import Output, check_outputs
from refinenet_pl.runs import RunFolder

PARTS = st.sampled_from(
    ["", ".", "..", "a", "b.png", "...", "~", "é", "c:", "x" * 254, "a\0", "\n", "\udcff", "\ud800"]
)
NAMES = st.text(st.characters(), max_size=12) | st.lists(PARTS, max_size=5).flatmap(
    lambda parts: st.lists(st.sampled_from("//\\"), min_size=len(parts), max_size=len(parts)).map(
        lambda slashes: "".join(map("".join, zip(parts, slashes, strict=True))).rstrip("/")
    )
)
"""Any text, and paths of the parts that lead elsewhere on some system."""


def refusal_of(call: Callable[[], object]) -> str | None:
    """Return the message with which a call refuses its arguments, or None."""
    try:
        call()
    except UserError as error:
        return str(error)
    return None


def is_unicode(text: str) -> bool:
    """Return whether a text has no halves of surrogate pairs, which UTF-8 cannot hold."""
    return not any(0xD800 <= ord(character) <= 0xDFFF for character in text)


def stays_below(folder: str, name: str) -> bool:
    """Return whether a name is in a folder by the rules of POSIX and of Windows, without looking at files."""
    posix = os.path.normpath(os.path.join(folder, name)).startswith(f"{folder}/")
    drive = ntpath.splitdrive(name)[0]
    windows = ntpath.normpath(ntpath.join("D:\\folder", name))
    return posix and not drive and f"{windows}\\".startswith("D:\\folder\\")


@given(NAMES)
@example("a/../../b")
@example("..\\a")
@example("\ud800.png")
@example("\udcff.png")
def test_path_inside_stays_inside_or_is_refused(name):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve() / "root"
        root.mkdir()
        if refusal := refusal_of(lambda: path_inside(root, name)):
            assert repr(name) in refusal
            return
        path = path_inside(root, name)
        assert stays_below(str(root), name)
        with atomic_write(path) as temporary:
            temporary.write_text("content")
        assert [file.resolve() for file in Path(folder).rglob("*") if file.is_file()] == [path]
        assert path.is_relative_to(root)


@given(NAMES)
@example("a\\..\\..\\b")
def test_names_of_matrices_stay_inside(name):
    assert leads_outside(name) or os.path.normpath(f"/root/{name}").startswith("/root")


@given(NAMES, st.sampled_from(["", "-validate"]))
def test_run_folders_are_two_levels_below_all_runs(experiment, suffix):
    if refusal := refusal_of(lambda: RunFolder.create_name("/all/runs", experiment)):
        assert refusal.startswith("experiment")
        outside = experiment in ("", ".", "..") or not {"/", "\\", "\0"}.isdisjoint(experiment)
        # Linux accepts any bytes in a name, but a name here must also be text that YAML and JSON files can hold.
        assert outside or (refusal.endswith("expected a name for a folder") and not is_unicode(experiment))
        return
    assert is_unicode(experiment)
    path = RunFolder.create_name("/all/runs", experiment, suffix).path
    assert Path(os.path.normpath(path)).parent == Path("/all/runs") / experiment
    assert path.name.endswith(suffix)
    assert "/" not in path.name


FOLDERS = ["out", "out/sub", "link", "in", "out/c.png"]
PLACES = st.tuples(st.sampled_from(FOLDERS), st.sampled_from(["a.png", "b.png", "c.png", "sub"])).map("/".join)
INPUTS = st.sampled_from(["in/a.png", "in/b.png", "in/linked.png"])


@given(st.lists(st.tuples(PLACES, INPUTS), min_size=1, max_size=4))
@example([("out/sub/a.png", "in/a.png"), ("link/a.png", "in/b.png")])
@example([("out/c.png", "in/a.png"), ("out/c.png/a.png", "in/b.png")])
def test_accepted_outputs_keep_inputs_and_each_other(pairs):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "in").mkdir()
        (root / "out" / "sub").mkdir(parents=True)
        (root / "link").symlink_to(root / "out" / "sub")
        for name in ("a.png", "b.png"):
            (root / "in" / name).write_text(f"input {name}")
        (root / "in" / "linked.png").symlink_to(root / "in" / "b.png")
        (root / "out" / "b.png").symlink_to(root / "in" / "a.png")
        files = {path: path.read_text() for path in root.rglob("*") if path.is_file()}
        outputs = [Output(root / path, root / source) for path, source in pairs]
        if refusal := refusal_of(lambda: check_outputs(outputs, "--output")):
            assert "--output" in refusal
            assert {path: path.read_text() for path in root.rglob("*") if path.is_file()} == files
            return
        for output in outputs:
            with atomic_write(output.path) as temporary:
                temporary.write_text(str(output.source))
        assert all(output.path.read_text() == str(output.source) for output in outputs)
        assert all(output.source.read_text() == files[output.source] for output in outputs)


@given(st.dictionaries(st.sampled_from(["out/a.png", "out/b.png", "out/sub/a.png"]), INPUTS, min_size=1))
def test_separate_outputs_are_accepted(sources):
    with tempfile.TemporaryDirectory() as folder:
        check_outputs(
            [Output(Path(folder, path), Path(folder, source)) for path, source in sources.items()], "--output"
        )
