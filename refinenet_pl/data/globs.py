"""Finds images below a folder, by folder or by pattern."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from refinenet_pl.archive_paths import AnyPath, entries, path_below
from refinenet_pl.data.split_errors import AbsentSplit
from refinenet_pl.errors import UserError
from refinenet_pl.images import is_image

WILDCARDS = re.compile(r"\*\*/|\*|\?|\[!?[^]]+\]")


def find_files(root: AnyPath, pattern: str, key: str) -> dict[str, AnyPath]:
    """Return the images of a folder or a pattern by name.

    Args:
        root: The folder that `pattern` starts from.
        pattern: A folder, whose images are found recursively; or a path with wildcards: `*`, `?`, `[abc]`, and `**/`
            for any folders.
        key: Key of the configuration, for error messages.

    Returns:
        Images by name, sorted. In a folder, the name is the path below it without suffix. With wildcards, it is the
        text that they stand for, with a slash between folders, so that images/*_photo.jpg and masks/*_label.png give
        equal names.

    Raises:
        UserError: The folder does not exist, nothing matches, or two files have the same name.
    """
    parts = PurePosixPath(pattern).parts
    if ".." in parts or pattern.startswith("/"):
        raise UserError(f"{key}: found {pattern!r}; expected a folder or a pattern below data.root")
    fixed = [*parts]
    while fixed and any(WILDCARDS.search(f"{part}/") for part in fixed):
        fixed.pop()
    folder = root.joinpath(*fixed)
    if not folder.is_dir():
        raise AbsentSplit(f"{key}: {folder}: no such folder (data.root is {root})")
    is_folder = len(fixed) == len(parts)
    wild = "/".join(parts[len(fixed) :])
    expression = re.compile(r"(.*)\.[^./]+" if is_folder else _expression(wild))
    found: dict[str, AnyPath] = {}
    for path in images_below(folder):
        match = expression.fullmatch(path_below(path, folder).as_posix())
        if match is None:
            continue
        name = match[1] if is_folder else _name(wild, match) or path.stem
        other = found.setdefault(name, path)
        if other is not path:
            raise UserError(f"{key}: {other} and {path} are both named {name!r}; rename one of them")
    if not found:
        raise AbsentSplit(f"{key}: {root / pattern}: no images there; expected files such as {folder}/NAME.png")
    return found


def images_below(folder: AnyPath, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[AnyPath]:
    """Yield the image files of a folder and the folders in it, but not of a link to one of the folders `above`."""
    if isinstance(folder, Path):
        status = folder.stat()
        above |= {(status.st_dev, status.st_ino)}
    for path in entries(folder):
        if path.is_dir():
            if not isinstance(path, Path) or (path.stat().st_dev, path.stat().st_ino) not in above:
                yield from images_below(path, above)
        elif is_image(path):
            yield path


def _name(pattern: str, match: re.Match[str]) -> str:
    """Return the text of the wildcards of a pattern, with a slash between those in different folders."""
    texts: dict[int, str] = {}
    for wildcard, text in zip(WILDCARDS.finditer(pattern), match.groups(), strict=False):
        depth = pattern.count("/", 0, wildcard.start())
        texts[depth] = texts.get(depth, "") + text.strip("/")
    return "/".join(text for text in texts.values() if text)


def _expression(pattern: str) -> str:
    """Return a regular expression for a path with wildcards, with a group for the text of each wildcard."""
    end = ""
    if pattern.endswith(".*"):  # any suffix, which is no part of the name
        pattern, end = pattern[:-2], r"\.[^./]+"
    elif pattern.endswith("*"):
        end = r"\.[^./]+"
    expression, position = "", 0
    for match in WILDCARDS.finditer(pattern):
        expression += re.escape(pattern[position : match.start()])
        wildcard = match[0]
        if wildcard == "**/":
            expression += "((?:[^/]+/)*)"
        elif wildcard == "*":
            expression += "([^/]*)"
        elif wildcard == "?":
            expression += "([^/])"
        else:
            expression += f"({wildcard.replace('[!', '[^')})"
        position = match.end()
    return expression + re.escape(pattern[position:]) + end
