"""Reads a study's yaml, and refuses in words what does not fit together."""

from pathlib import Path

from pydantic import ValidationError

from refinenet_pl.errors import UserError
from refinenet_pl.files import read_yaml
from refinenet_pl.studies.study import Levels, Study


def load_study(path: Path) -> Study:
    """Read and check a study's yaml.

    Raises:
        UserError: No such file, or what it says does not fit together; the message names the key.
    """
    content = read_yaml(path, "study")
    try:
        study = Study(path=path, **content)
    except (ValidationError, TypeError) as error:  # the latter for keys that are no words
        raise UserError(f"{path}: {_in_words(error)}") from error
    _check(study)
    return study


def _in_words(error: ValidationError | TypeError) -> str:
    """Each mistake with its place and what was found there."""
    if isinstance(error, TypeError):
        return str(error)
    told = []
    for mistake in error.errors():
        place = ".".join(str(part) for part in mistake["loc"])
        told.append(f"{place}: {mistake['msg']}, but found {str(mistake['input'])[:80]}")
    return "; ".join(told)


def _check(study: Study) -> None:
    """Refuse what is missing, doubled or unknown; compose every cell once, so that wrong overrides show at once."""
    for factor, named in study.factors.items():
        if not named:
            raise UserError(f"{study.path}: factor {factor} has no levels")
        if factor in ("seed", "row"):
            raise UserError(f"{study.path}: a factor cannot be called {factor}, which --only takes for something else")
    for levels in study.grid:
        _check_levels(study, levels)
    for figure in study.published:
        _check_levels(study, figure.levels)
        if figure.levels not in study.grid:
            raise UserError(f"{study.path}: published: {figure.levels} is none of the rows")
    names = [cell.name for cell in study.cells]
    if not names or len(set(names)) < len(names):
        raise UserError(f"{study.path}: no cells, or two of the same row and seed: {', '.join(names)}")


def _check_levels(study: Study, levels: Levels) -> None:
    if levels.keys() != study.factors.keys():
        raise UserError(f"{study.path}: {levels} must name a level for each of {', '.join(study.factors)}")
    for factor, level in levels.items():
        if level not in study.factors[factor]:
            known = ", ".join(study.factors[factor])
            raise UserError(f"{study.path}: factor {factor} has no level {level!r}; it has {known}")
