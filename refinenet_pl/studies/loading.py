"""Reads and checks the YAML of a study."""

from pathlib import Path

from pydantic import ValidationError

from refinenet_pl.errors import UserError
from refinenet_pl.files import read_yaml
from refinenet_pl.studies.study import Levels, Study
from refinenet_pl.text import join

RESERVED = ("dataset", "row", "seed")
"""Names that --only uses, so that no factor can have them."""


def load_study(path: str | Path) -> Study:
    """Read and check the YAML of a study.

    Raises:
        UserError: The file is missing or inconsistent. The message names the key.
    """
    path = Path(path)
    content = read_yaml(path, "study")
    try:
        study = Study(path=path, **content)
    except (ValidationError, TypeError) as error:  # TypeError: a key is no string
        raise UserError(f"{path}: {_describe(error)}") from error
    _check(study)
    return study


def _describe(error: ValidationError | TypeError) -> str:
    """Return each mistake with its key and what was found there."""
    if isinstance(error, TypeError):
        return str(error)
    mistakes = []
    for mistake in error.errors():
        key = ".".join(str(part) for part in mistake["loc"])
        mistakes.append(f"{key}: {mistake['msg']}, but found {str(mistake['input'])[:80]}")
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
        if study.image_size_of(dataset) is None:
            where = "" if dataset is None else f" for the dataset {dataset}"
            raise UserError(f"{study.path}: image_size is missing{where}; give height and width in pixels")
    _check_published(study)
    names = [cell.name for cell in study.cells]
    if not names or len(set(names)) < len(names):
        raise UserError(f"{study.path}: found no cells, or two with the same row and seed: {join(names)}")


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
