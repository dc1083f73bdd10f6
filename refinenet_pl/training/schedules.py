"""Learning-rate schedules: pure functions of the optimizer step, so that a resumed run has exactly the same rates."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from refinenet_pl.errors import UserError


@dataclass(frozen=True)
class Schedule(ABC):
    """Factor on the base learning rate: a linear warm-up times a decay over the whole run.

    factor(step) = min(1, (step + 1) / warmup_steps) * decay(step / total_steps). Steps count from 0; past total_steps
    the factor keeps its last value. The warm-up multiplies the decay and does not delay it, so that runs with and
    without warm-up have the same rate after it.

    Attributes:
        warmup_steps: Optimizer steps until the warm-up reaches 1; 0 turns it off. A shorter run ends during the
            warm-up.
    """

    warmup_steps: int = 0

    def __post_init__(self) -> None:
        self._require("warmup_steps", self.warmup_steps >= 0, "0 or more optimizer steps")

    def factor(self, step: int, total_steps: int) -> float:
        """Return the factor for one optimizer step.

        Args:
            step: Number of optimizer steps (not batches) before this one, 0 or more.
            total_steps: Optimizer steps of the whole run.

        Returns:
            A factor in 0..1. Past the last step it keeps its final value.

        Raises:
            UserError: The run has no steps.
        """
        if total_steps < 1:
            raise UserError(
                f"the learning-rate schedule has {total_steps} training steps; expected at least 1: "
                "raise trainer.max_steps or trainer.max_epochs"
            )
        step = min(step, total_steps)
        warmup = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        return warmup * self.decay(step / total_steps)

    @abstractmethod
    def decay(self, progress: float) -> float:
        """Return the decay, in 0..1, at `progress`, the finished fraction of the run, in 0..1."""

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise UserError(f"{type(self).__name__}: {name} is {getattr(self, name)}; expected {expected}")


@dataclass(frozen=True)
class Constant(Schedule):
    """Constant learning rate: decay = 1."""

    def decay(self, progress: float) -> float:
        """Return the decay at `progress`."""
        return 1.0


@dataclass(frozen=True)
class Poly(Schedule):
    """Polynomial decay to 0: (1 - progress)^power.

    Attributes:
        power: Above 0. DeepLab introduced 0.9, which segmentation has used since.
    """

    power: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("power", self.power > 0, "a number above 0")

    def decay(self, progress: float) -> float:
        """Return the decay at `progress`."""
        return (1 - progress) ** self.power


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from 1 to the final factor f: f + (1 - f) (1 + cos(pi progress)) / 2.

    Attributes:
        final_factor: Factor at the end of the run, in 0..1.
    """

    final_factor: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("final_factor", 0 <= self.final_factor <= 1, "a number in 0..1")

    def decay(self, progress: float) -> float:
        """Return the decay at `progress`."""
        return self.final_factor + (1 - self.final_factor) * (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True)
class MultiStep(Schedule):
    """Multiplies the learning rate by gamma at each milestone.

    The authors of RefineNet multiplied it by 0.1, by hand, whenever the validation metric reached a plateau.

    Attributes:
        milestones: Fractions of the whole run, above 0 and below 1, ascending.
        gamma: Above 0 and at most 1.
    """

    milestones: tuple[float, ...] = (0.5, 0.75)  # He et al. (CVPR 2016) on CIFAR: 32k and 48k of 64k steps
    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        ascending = list(self.milestones) == sorted(self.milestones)
        inside = all(0 < milestone < 1 for milestone in self.milestones)
        self._require("milestones", ascending and inside, "ascending fractions of the run, above 0 and below 1")
        self._require("gamma", 0 < self.gamma <= 1, "a number above 0 and at most 1")

    def decay(self, progress: float) -> float:
        """Return the decay at `progress`."""
        return self.gamma ** sum(milestone <= progress for milestone in self.milestones)


def make_scheduler(optimizer: Optimizer, schedule: Schedule, total_steps: float) -> LambdaLR:
    """Attach a schedule to an optimizer.

    The scheduler's state holds the step and the base rates, but not the schedule. A resumed run computes the same
    rates from its configuration.

    Args:
        optimizer: The learning rates of its parameter groups are the base rates.
        schedule: The factor on all of them.
        total_steps: Optimizer steps of the whole run; infinity if it has no end.

    Returns:
        A scheduler. Step it after every optimizer step, not after every epoch.

    Raises:
        UserError: The run has no steps, or no end.
    """
    if total_steps == math.inf:
        raise UserError("the schedule needs an end: set trainer.max_epochs or trainer.max_steps")
    total = int(total_steps)
    return LambdaLR(optimizer, lambda step: schedule.factor(step, total))
