"""Reads and checks the YAML of a study."""

from collections import Counter
from dataclasses import fields
from pathlib import Path

from pydantic import ValidationError

from refinenet_pl.errors import UserError
from refinenet_pl.files import read_yaml
from refinenet_pl.studies.study import Levels, Study
from refinenet_pl.text import join

KEYS = tuple(field.name for field in fields(Study) if field.name not in ("path", "added", "most_seeds"))
RESERVED = ("dataset", "row", "seed")
"""Names that --only uses, so that no factor can have them."""


def load_study(path: str | Path) -> Study:
    """Read and check the YAML of a study.

    Raises:
        UserError: The file is missing or inconsistent. The message names the key.
    """
    path = Path(path)
    content = read_yaml(path, "study")
    if wrong := [key for key in content if key not in KEYS]:
        raise UserError(f"{path}: unknown keys: {join(wrong, 8)}; expected {join(KEYS)}")
    try:
        study = Study(path=path, **content)
    except ValidationError as error:
        raise UserError(f"{path}: {_describe(error)}") from error
    _check(study)
    return study


def _describe(error: ValidationError) -> str:
    """Return each mistake with its key and what was found there."""
    mistakes = []
    for mistake in error.errors():
        key = ".".join(str(part) for part in mistake["loc"])
        found = "found nothing" if mistake["type"] == "missing" else f"but found {str(mistake['input'])[:80]}"
        mistakes.append(f"{key}: {mistake['msg']}, {found}")
    return "; ".join(mistakes)


def _check(study: Study) -> None:
    """Refuse missing, repeated and unknown names. Composing every cell checks the overrides."""
    for factor, levels_by_name in study.factors.items():
        if not levels_by_name:
            raise UserError(f"{study.path}: factor {factor} has no levels; expected at least one")
        if factor in RESERVED:
            raise UserError(
                f"{study.path}: a factor cannot be named {factor}, because --only uses that name; rename it"
            )
    for levels in study.grid:
        _check_levels(study, levels)
    for dataset in study.dataset_names:
        size = study.image_size_of(dataset)
        if size is None or min(size) < 1:
            where = "" if dataset is None else f" for the dataset {dataset}"
            found = "missing" if size is None else f"{list(size)}"
            raise UserError(f"{study.path}: image_size is {found}{where}; give height and width in pixels")
    _check_published(study)
    names = [cell.name for cell in study.cells]
    if not names:
        raise UserError(f"{study.path}: found no cells, because rows or seeds is empty; expected at least one of each")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(
            f"{study.path}: found cells with the same row and seed: {join(twice, 8)}; remove the repeated one, or "
            "rename its level"
        )


def _check_published(study: Study) -> None:
    for value in study.published:
        _check_levels(study, value.levels)
        if value.levels not in study.grid:
            raise UserError(f"{study.path}: published: {value.levels} is not a row of the study")
        if value.dataset not in study.dataset_names:
            expected = join(study.datasets) if study.datasets else "no dataset, because the study has only one"
            raise UserError(f"{study.path}: published: dataset is {value.dataset!r}; expected {expected}")


def _check_levels(study: Study, levels: Levels) -> None:
    if levels.keys() != study.factors.keys():
        raise UserError(f"{study.path}: {levels} must name one level of each factor: {join(study.factors)}")
    for factor, level in levels.items():
        if level not in study.factors[factor]:
            levels_of_factor = join(study.factors[factor])
            raise UserError(f"{study.path}: factor {factor} has no level {level!r}; expected one of {levels_of_factor}")
