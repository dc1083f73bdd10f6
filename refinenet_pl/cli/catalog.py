"""What there is to choose from, by name, with one line each.

Classes are read from the sources, because importing them takes seconds.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from refinenet_pl.data import DATA_MODULES
from refinenet_pl.errors import UserError

PACKAGE = Path(__file__).parents[1]


def networks() -> dict[str, str]:
    """Return the networks of this package."""
    modules = {path.stem for path in (PACKAGE / "networks").glob("*.py")} - {"base"}
    return {
        node.name: _first_line(node)
        for module in sorted(modules)
        for node in _classes(f"networks/{module}.py")
        if "RefinementNetwork" in map(ast.unparse, node.bases)
    }


def losses() -> dict[str, str]:
    """Return the losses of this package."""
    return {node.name: _first_line(node) for node in _classes("training/losses.py") if _has_forward(node)}


def data_modules() -> dict[str, str]:
    """Return the data modules of this package."""
    return {
        node.name: _first_line(node)
        for name, module in sorted(DATA_MODULES.items())
        for node in _classes(f"data/{module}.py")
        if node.name == name
    }


def encoders() -> dict[str, str]:
    """Return the encoders of segmentation_models_pytorch, and their pre-trained weights."""
    import segmentation_models_pytorch as smp  # here, because it takes seconds

    return {name: ", ".join(entry["pretrained_settings"]) for name, entry in sorted(smp.encoders.encoders.items())}


def experiments(kind: str) -> dict[str, str]:
    """Return the yaml files of a folder in `experiments/`, such as "recipes", and the first line of each.

    Raises:
        UserError: There is no such folder.
    """
    folder = experiments_folder(kind)
    if folder is None:
        raise UserError(f"no folder experiments/{kind} here; expected a clone of the repository, which has it")
    return {path.stem: _comment(path) for path in sorted(folder.glob("*.yaml"))}


def experiments_folder(kind: str) -> Path | None:
    """Return a folder of `experiments/`, in the current folder or beside the package; None if there is none."""
    folders = [parent / "experiments" / kind for parent in (Path(), PACKAGE.parent)]
    return next((folder for folder in folders if folder.is_dir()), None)


def _comment(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return lines[0].removeprefix("# ").rstrip(".") if lines and lines[0].startswith("# ") else ""


def _classes(file: str) -> Iterator[ast.ClassDef]:
    body = ast.parse((PACKAGE / file).read_text(encoding="utf-8")).body
    return (node for node in body if isinstance(node, ast.ClassDef))


def _has_forward(node: ast.ClassDef) -> bool:
    return any(isinstance(item, ast.FunctionDef) and item.name == "forward" for item in node.body)


def _first_line(node: ast.ClassDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0].rstrip(".")
