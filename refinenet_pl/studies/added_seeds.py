"""Seeds that `study run --until-width` adds to rows, kept beside the runs of a study."""

from dataclasses import replace
from pathlib import Path

from refinenet_pl.errors import UserError
from refinenet_pl.files import read_json, write_json
from refinenet_pl.studies.folders import study_folder
from refinenet_pl.studies.study import Study

ADVICE = "restore it, or delete it: the study then has the seeds of its yaml only"


def added_file(study: Study, runs: Path) -> Path:
    """Return the file of the added seeds."""
    return study_folder(runs, study) / "added_seeds.json"


def with_added_seeds(study: Study, runs: Path) -> Study:
    """Return the study with the seeds that were added to its rows.

    Raises:
        UserError: The file has other content.
    """
    path = added_file(study, runs)
    if not path.is_file():
        return study
    content = read_json(path, ADVICE, {"most_seeds": int, "added": dict})
    added = content["added"]
    for row, seeds in added.items():
        if not isinstance(seeds, list) or not all(type(seed) is int for seed in seeds):
            raise UserError(f"{path}: the seeds of {row} are {seeds!r}; expected a list of numbers; {ADVICE}")
    return replace(study, added=added, most_seeds=content["most_seeds"])


def write_added_seeds(study: Study, runs: Path) -> None:
    """Write the seeds that were added to the rows of a study."""
    write_json(added_file(study, runs), {"most_seeds": study.most_seeds, "added": study.added})
