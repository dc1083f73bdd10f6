"""The IoU of one or several runs on the same images, and what its intervals need."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from refinenet_pl.evaluation.dependence import Units, find_units
from refinenet_pl.evaluation.influence import iou_and_influence, losses_and_influence
from refinenet_pl.evaluation.intervals import Estimate, Sample, estimate
from refinenet_pl.evaluation.per_image import ImageMatrices


@dataclass(frozen=True)
class Scores:
    """IoU of one or several runs on the same images.

    Attributes:
        class_names: One name per class.
        groups: The group of each image, in the order of the images' names; empty for independent images.
        seeds: The seed of each run; None if it is unknown.
        sample: IoU of each class and then the mean IoU, in 0..1, of each run; and the influence of each image.
        present: Whether the target of each image has each class, bool [images, C].
        errors: What each part of the errors takes from the IoU: part after part the loss of each class, then the mean;
            and the influence of each image on it. None if the parts are unknown.
    """

    class_names: tuple[str, ...]
    groups: tuple[str, ...]
    seeds: tuple[int | None, ...]
    sample: Sample
    present: np.ndarray
    errors: Sample | None = None

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.groups)

    @property
    def iou(self) -> np.ndarray:
        """IoU of each class, then the mean IoU, averaged over runs, float64 [C + 1]; NaN where undefined in any run."""
        return self.sample.values.mean(axis=0)

    @property
    def units(self) -> Units:
        """The units of the images, as far as this row is concerned."""
        return find_units(self.groups, self.sample.influence[:, :, -1])

    def estimate(self) -> Estimate:
        """Return the means over runs, with their variances."""
        units = self.units
        return known_where_present(estimate(self.sample, units), self.present, units)

    def of_seeds(self, seeds: Sequence[int | None]) -> "Scores":
        """Return the runs with these seeds, in this order."""
        runs = [self.seeds.index(seed) for seed in seeds]
        errors = None if self.errors is None else self.errors.of_runs(runs)
        return replace(self, seeds=tuple(seeds), sample=self.sample.of_runs(runs), errors=errors)

    @property
    def effective_images(self) -> float:
        """How many independent images would give the mean IoU the same variance over images; NaN for one."""
        units = self.units
        mean = self.sample.influence[:, :, -1].mean(axis=0)
        count = len(mean)
        if units.count < 2:
            return float("nan")
        alone = count / (count - 1) * (mean**2).sum()
        together = estimate(self.sample, units).images[-1]
        return float(count * min(alone / together, 1.0)) if together > 0 else float(count)


def score(runs: Sequence[ImageMatrices], seeds: Sequence[int | None] | None = None) -> Scores:
    """Return the IoU of one or more runs on the same images.

    Args:
        runs: For example one run per seed.
        seeds: The seed of each run; None if they are unknown.
    """
    pairs = [iou_and_influence(images) for images in runs]
    first = runs[0]
    return Scores(
        first.class_names,
        tuple(first.groups),
        tuple(seeds or [None] * len(runs)),
        Sample(np.stack([iou for iou, _ in pairs]), np.stack([influence for _, influence in pairs])),
        first.target_pixels() > 0,
        _errors(runs),
    )


def _errors(runs: Sequence[ImageMatrices]) -> Sample | None:
    pairs = [losses_and_influence(images) for images in runs]
    known = [pair for pair in pairs if pair is not None]
    if len(known) < len(pairs):
        return None
    losses, influence = (np.stack(values) for values in zip(*known, strict=True))
    return Sample(losses.reshape(len(runs), -1), influence.reshape(*influence.shape[:2], -1))


def known_where_present(estimate: Estimate, present: np.ndarray, units: Units) -> Estimate:
    """Return the estimate without variances of classes that fewer than two units have: nothing tells how they vary.

    Args:
        estimate: Each class, then the mean; once, or several times in a row.
        present: Whether the target of each image has each class, bool [images, C].
        units: The units of the images.
    """
    has = units.sums(present.astype(np.float64)) > 0
    images = estimate.images.reshape(-1, present.shape[1] + 1).copy()
    images[:, :-1][:, has.sum(axis=0) < 2] = np.nan
    return replace(estimate, images=images.ravel())
