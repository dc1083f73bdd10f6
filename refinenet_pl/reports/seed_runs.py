"""The finished runs that a report is made of."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.comparison import check_same_targets
from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.runs import RunFolder


@dataclass(frozen=True)
class SeedRun:
    """One finished run: a seed of a row.

    Attributes:
        seed: Its seed; None if it is unknown.
        folder: Its run folder.
        training: Run folder of its training. This is `folder`, unless the run only evaluates another run's checkpoint.
            None if the training's folder is gone.
        checkpoint: The evaluated checkpoint. It may be gone.
        predictions: Folder of the masks that a page shows.
        named_classes: Paths of the classes that the user has named, such as those of a study. Its configuration may
            name these, and classes of this package.
        results: Content of its `results.json`.
        images: Its confusion matrix per image.
    """

    seed: int | None
    folder: RunFolder
    training: RunFolder | None
    checkpoint: Path
    predictions: Path
    named_classes: Collection[str]
    results: dict[str, Any]
    images: ImageMatrices

    @property
    def split(self) -> str:
        """The split that it was evaluated on, "val" or "test"."""
        return str(self.results.get("split", "val"))


def check_targets(runs: Sequence[SeedRun]) -> None:
    """Raise UserError unless all runs were evaluated on the same images with the same targets."""
    for run in runs[1:]:
        try:
            check_same_targets(runs[0].images, run.images)
        except UserError as error:
            raise UserError(f"run A: {runs[0].folder.path}\nrun B: {run.folder.path}\n{error}") from error
