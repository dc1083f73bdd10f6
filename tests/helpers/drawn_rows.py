"""Rows of a study drawn from a known population: seeds, images and drives with known variances, no network."""

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from refinenet_pl.evaluation.influence import influence_of
from refinenet_pl.evaluation.intervals import Sample

AREA = np.array([40_000, 20_000, 6_000, 1_500])
"""Mean target pixels of each class in an image."""
SKILL = np.array([3.0, 2.0, 1.0, 0.5])
"""Log odds that a pixel of each class is right."""


@dataclass(frozen=True)
class Population:
    """How runs and images vary, as standard deviations of the log odds that a pixel is right.

    Attributes:
        seed: Between seeds.
        image: Between images, for all seeds alike.
        both: Of each seed on each image.
        correlation: Of everything about images between neighboring frames of a drive.
    """

    seed: float
    image: float
    both: float
    correlation: float = 0.0

    def draw(self, rng: np.random.Generator, runs: int, images: int, rows: int = 1) -> list[Sample]:
        """Draw rows without any difference between them, on the same images. Seeds of two rows are independent."""
        area = np.exp(self._series(rng, (images, len(AREA)), 0.7)) * AREA
        frames = self._series(rng, (images, len(AREA)), self.image)
        return [self._row(rng, runs, area, frames) for _ in range(rows)]

    def _row(self, rng: np.random.Generator, runs: int, area: np.ndarray, frames: np.ndarray) -> Sample:
        images = len(area)
        # Half of what a seed does is common to its classes.
        seeds = self.seed * np.sqrt(0.5) * (rng.normal(size=(runs, 1, 1)) + rng.normal(size=(runs, 1, len(AREA))))
        both = np.moveaxis(self._series(rng, (images, runs, len(AREA)), self.both), 1, 0)
        right = 1 / (1 + np.exp(-(SKILL + seeds + frames + both)))
        correct = right * area
        missed = area - correct
        # Missed pixels of a class are predicted as the next class.
        predicted = correct + np.roll(missed, 1, axis=-1)
        pairs = [influence_of(each, area, prediction) for each, prediction in zip(correct, predicted, strict=True)]
        return Sample(np.stack([iou for iou, _ in pairs]), np.stack([influence for _, influence in pairs]))

    def _series(self, rng: np.random.Generator, shape: tuple[int, ...], deviation: float) -> np.ndarray:
        """Draw values that depend on each other along the first axis, as a first-order autoregressive process."""
        if not self.correlation:
            return deviation * rng.normal(size=shape)
        burn = 100
        noise = rng.normal(size=(shape[0] + burn, *shape[1:])) * np.sqrt(1 - self.correlation**2)
        return deviation * lfilter([1.0], [1.0, -self.correlation], noise, axis=0)[burn:]

    def truth(self, seed: int = 0) -> np.ndarray:
        """Return the mean over many seeds of the IoU over many images, per class and then the mean IoU."""
        rng = np.random.default_rng(seed)
        independent = Population(self.seed, self.image, self.both)
        return np.mean([independent.draw(rng, 20, 4_000)[0].values.mean(axis=0) for _ in range(150)], axis=0)
