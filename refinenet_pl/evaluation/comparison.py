"""Compare the IoU of the runs of two sides, with intervals over seeds and images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.dependence import Units, find_units
from refinenet_pl.evaluation.intervals import LEVEL, Estimate, Sample, estimate, estimate_difference, excludes_zero
from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.evaluation.results import defined, defined_interval
from refinenet_pl.evaluation.scores import Scores, known_where_present, score
from refinenet_pl.text import join, percent, plural


@dataclass(frozen=True)
class Difference:
    """The difference in IoU of two sides, B - A.

    Images are paired. Seeds are paired if both sides have the same ones: then each seed has a difference, and the
    interval is about their mean. Otherwise the seeds of both sides are independent.

    Attributes:
        a: The first side.
        b: The second side, on the same images.
    """

    a: Scores
    b: Scores

    @property
    def paired(self) -> bool:
        """Whether seeds are paired."""
        return self.a.seeds == self.b.seeds and None not in self.a.seeds

    @cached_property
    def units(self) -> Units:
        """The units of the images."""
        influence = np.concatenate([side.sample.influence[:, :, -1] for side in (self.a, self.b)])
        return find_units(self.a.groups, influence)

    @cached_property
    def estimate(self) -> Estimate:
        """The differences per class, then of the mean IoU, with their variances."""
        return self._estimate(self.a.sample, self.b.sample)

    @cached_property
    def errors(self) -> Estimate | None:
        """The differences of what each part of the errors takes from the IoU: see `Scores`. None if unknown."""
        if self.a.errors is None or self.b.errors is None:
            return None
        return self._estimate(self.a.errors, self.b.errors)

    def _estimate(self, a: Sample, b: Sample) -> Estimate:
        found = estimate(b - a, self.units) if self.paired else estimate_difference(a, b, self.units)
        return known_where_present(found, self.a.present, self.units)

    def as_dict(self, level: float = LEVEL) -> dict[str, Any]:
        """Return everything for a JSON file.

        Returns:
            "images", "units", "level", "seeds_a", "seeds_b", "seeds_paired", "covers", "per_class_iou" (by class name)
            and "miou". Each entry of the last two has "a", "b", "difference" = b - a, "interval" = [low, high] of the
            difference over what "covers" says, "image_interval" over images alone, and "seed_share", the share of the
            variance that is due to seeds. All in 0..1; None where undefined.
        """
        estimate = self.estimate
        *per_class, miou = [
            {
                "a": defined(iou_a),
                "b": defined(iou_b),
                "difference": defined(iou_b - iou_a),
                "interval": defined_interval(interval),
                "image_interval": defined_interval(image_interval),
                "seed_share": defined(seed_share),
            }
            for iou_a, iou_b, interval, image_interval, seed_share in zip(
                self.a.iou.tolist(),
                self.b.iou.tolist(),
                estimate.interval(level).tolist(),
                estimate.image_interval(level).tolist(),
                estimate.seed_share.tolist(),
                strict=True,
            )
        ]
        return {
            "images": self.a.images,
            "units": self.units.describe(),
            "level": level,
            "seeds_a": list(self.a.seeds),
            "seeds_b": list(self.b.seeds),
            "seeds_paired": self.paired,
            "covers": "seeds and images" if estimate.covers_seeds else "images",
            "per_class_iou": dict(zip(self.a.class_names, per_class, strict=True)),
            "miou": miou,
        }

    def marked(self, level: float = LEVEL) -> np.ndarray:
        """Return whether each difference gets a star: its interval covers seeds and excludes zero, bool [C + 1]."""
        return excludes_zero(self.estimate.interval(level)) & self.estimate.covers_seeds

    def describe(self, level: float = LEVEL) -> str:
        """Describe the difference in mean IoU in a few sentences: what its interval covers, and what it does not."""
        difference = self.as_dict(level)["miou"]
        if difference["interval"] is None:
            return "There is no interval: the mean IoU is undefined, or there are fewer than two independent images."
        points = 100 * difference["difference"]
        head = (
            f"On these {self.a.images} images ({self.units.describe()}), B's mean IoU is {abs(points):.2f} points "
            f"{'below' if points < 0 else 'above'} A's. "
        )
        return head + (self._joint(difference, level) if self.estimate.covers_seeds else self._images_only(difference))

    def _joint(self, difference: Mapping[str, Any], level: float) -> str:
        low, high = (percent(end) for end in difference["interval"])
        image_low, image_high = (percent(end) for end in difference["image_interval"])
        verdict = (
            "It excludes zero: other seeds and similar images would hardly change the sign."
            if self.marked(level)[-1]
            else "It includes zero: with other seeds or on similar images, either side could be better."
        )
        share = (
            ""
            if difference["seed_share"] is None
            else f" Seeds are {100 * difference['seed_share']:.0f} % of its variance."
        )
        return (
            f"The {100 * level:g} % interval over seeds and images is {low} to {high} points. {verdict}{share} Over "
            f"images alone it is {image_low} to {image_high}. {self._pairing()}"
        )

    def _pairing(self) -> str:
        counts = f"{len(self.a.seeds)} and {plural(len(self.b.seeds), 'run')}"
        if self.paired:
            return f"Runs are paired by seed: {join(self.a.seeds)}."
        return f"The sides have {counts}, which are not paired: their seeds differ or are unknown."

    def _images_only(self, difference: Mapping[str, Any]) -> str:
        low, high = (percent(end) for end in difference["interval"])
        return (
            f"The interval is over images alone: {low} to {high} points. It says nothing about other seeds, so the "
            "difference gets no star. Give two or more runs with different seeds on each side."
        )


def difference_of_rows(a: Scores, b: Scores) -> Difference:
    """Return the difference of two rows of a study, over the seeds that both have, if these are two or more.

    Rows with fewer common seeds are compared with all of their seeds.
    """
    shared = [seed for seed in a.seeds if seed is not None and seed in b.seeds]
    if len(shared) < 2:
        return Difference(a, b)
    return Difference(a.of_seeds(shared), b.of_seeds(shared))


def compare(
    a: Sequence[ImageMatrices],
    b: Sequence[ImageMatrices],
    seeds_a: Sequence[int | None] | None = None,
    seeds_b: Sequence[int | None] | None = None,
) -> Difference:
    """Compare the IoU of two sides of one or several runs.

    Args:
        a: The runs of the first side, for example one per seed.
        b: The runs of the second side.
        seeds_a: The seed of each run of `a`; None if unknown.
        seeds_b: The same for `b`.

    Raises:
        UserError: The runs were not evaluated on the same images with the same targets.
    """
    for other in [*a[1:], *b]:
        check_same_targets(a[0], other)
    return Difference(score(a, seeds_a), score(b, seeds_b))


def check_same_targets(a: ImageMatrices, b: ImageMatrices) -> None:
    """Raise UserError unless both runs were evaluated on the same images with the same targets."""
    if a.class_names != b.class_names:
        raise UserError(
            f"run A has the classes {join(a.class_names)}; run B has {join(b.class_names)}. Only runs with the same "
            "classes in the same order can be compared."
        )
    unpaired = sorted(set(a.names) ^ set(b.names))
    if unpaired:
        raise UserError(
            f"run A has {len(a.names)} images, run B has {len(b.names)}; {len(unpaired)} of them are in only one run: "
            f"{join(unpaired, limit=3)}. Evaluate both runs on the same split of the same data."
        )
    moved = [bool(one and other and one != other) for one, other in zip(a.target_hashes, b.target_hashes, strict=True)]
    different = (a.target_pixels() != b.target_pixels()).any(axis=1) | moved
    if different.any():
        names = np.array(a.names)[different]
        raise UserError(
            f"the targets of {len(names)} images differ between the runs: {join(names, limit=3)}. Their label images "
            "have other values. Evaluate both runs with the same label images."
        )
