"""The arguments of classes, read from sources, because importing them takes many seconds."""

import ast
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("refinenet_pl", "pytorch_lightning", "torch/optim")
"""Folders with the classes that configurations name most, the first that has a class wins."""
WITHOUT_ARGUMENTS = ("ABC", "nn.Module", "Generic")


@cache
def arguments(name: str) -> dict[str, str] | None:
    """Return the arguments of a class's constructor, or the fields of a dataclass.

    Args:
        name: The class, with or without its module.

    Returns:
        By name, the annotation of each argument. None if they cannot be told: the class is in another package, or it
        passes keyword arguments on to one.
    """
    node = find_class(name)
    if node is None:
        return None
    functions = (item for item in node.body if isinstance(item, ast.FunctionDef))
    constructor = next((item for item in functions if item.name == "__init__"), None)
    if constructor is None:
        return _inherited(node, _fields(node) if is_dataclass(name) else {})
    given = constructor.args
    named = {each.arg: _text(each.annotation) for each in [*given.posonlyargs, *given.args, *given.kwonlyargs]}
    named.pop("self", None)
    return _inherited(node, named) if given.kwarg else named


@cache
def find_class(name: str) -> ast.ClassDef | None:
    """Return the definition of a class of these packages; None if there is none of that name."""
    root, _, short = name.rpartition(".")
    for package in PACKAGES:
        if root and root.split(".")[0] != package.split("/")[0]:
            continue
        for file in _sources(package):
            text = file.read_text(encoding="utf-8")
            if f"class {short}(" in text or f"class {short}:" in text:
                nodes = ast.walk(ast.parse(text))
                return next(node for node in nodes if isinstance(node, ast.ClassDef) and node.name == short)
    return None


def is_dataclass(name: str) -> bool:
    """Return whether a class is a dataclass of these packages."""
    node = find_class(name)
    return node is not None and any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def _sources(package: str) -> Iterator[Path]:
    top, _, folder = package.partition("/")
    spec = find_spec(top)  # of a package at the top: it is found, not imported
    for place in (spec.submodule_search_locations or []) if spec else []:
        yield from sorted((Path(place) / folder).rglob("*.py"))


def _inherited(node: ast.ClassDef, named: dict[str, str]) -> dict[str, str] | None:
    for base in node.bases:
        if ast.unparse(base) in WITHOUT_ARGUMENTS:
            continue
        parent = arguments(ast.unparse(base))
        if parent is None:
            return None
        named = parent | named
    return named


def _fields(node: ast.ClassDef) -> dict[str, str]:
    annotated = (item for item in node.body if isinstance(item, ast.AnnAssign))
    return {ast.unparse(item.target): _text(item.annotation) for item in annotated}


def _text(annotation: ast.expr | None) -> str:
    return ast.unparse(annotation) if annotation else ""
