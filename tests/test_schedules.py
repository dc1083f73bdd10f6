"""Schedules against their formulas, past the last step, and in a resumed run."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from refinenet_pl.errors import UserError
from refinenet_pl.training.schedules import Constant, Cosine, MultiStep, Poly, Schedule, make_scheduler

TOTAL = 200

SCHEDULES = [
    Constant(),
    Poly(),
    Poly(warmup_steps=20, power=2.0),
    Cosine(final_factor=0.1),
    MultiStep(),
    MultiStep(warmup_steps=7, milestones=(0.3, 0.7), gamma=0.5),
]
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        (Constant(), 0, 1.0),
        (Constant(), 199, 1.0),
        (Poly(), 0, 1.0),
        (Poly(), 100, 0.5**0.9),
        (Poly(), 199, 0.005**0.9),
        (Poly(power=2.0), 50, 0.75**2),
        (Cosine(), 0, 1.0),
        (Cosine(), 50, 0.5 + math.sqrt(2) / 4),
        (Cosine(), 100, 0.5),
        (Cosine(final_factor=0.2), 100, 0.6),
        (MultiStep(), 99, 1.0),
        (MultiStep(), 100, 0.1),
        (MultiStep(), 149, 0.1),
        (MultiStep(), 150, 0.01),
        (MultiStep(milestones=(0.7,), gamma=0.3), 139, 1.0),
        (MultiStep(milestones=(0.7,), gamma=0.3), 140, 0.3),
        (MultiStep(milestones=()), 199, 1.0),
        (Constant(warmup_steps=50), 0, 1 / 50),
        (Constant(warmup_steps=50), 24, 0.5),
        (Constant(warmup_steps=50), 49, 1.0),
        (Poly(warmup_steps=50), 24, 0.5 * 0.88**0.9),
        (Poly(warmup_steps=50), 50, 0.75**0.9),
        (Constant(warmup_steps=1), 0, 1.0),
    ],
)
def test_factor_is_the_formula(schedule: Schedule, step: int, expected: float) -> None:
    assert schedule.factor(step, TOTAL) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("schedule", "final"),
    [
        (Constant(), 1.0),
        (Poly(), 0.0),
        (Cosine(), 0.0),
        (Cosine(final_factor=0.2), 0.2),
        (MultiStep(), 0.01),
        (Constant(warmup_steps=1000), 0.201),
    ],
)
@pytest.mark.parametrize("step", [TOTAL, TOTAL + 1, 10 * TOTAL])
def test_factor_is_constant_past_the_end(schedule: Schedule, final: float, step: int) -> None:
    factor = schedule.factor(step, TOTAL)
    assert isinstance(factor, float)
    assert factor == pytest.approx(final, rel=1e-12)


@every_schedule
@pytest.mark.parametrize("total", [1, 3, TOTAL])
def test_factors_are_between_0_and_1(schedule: Schedule, total: int) -> None:
    factors = [schedule.factor(step, total) for step in range(2 * total)]
    assert all(isinstance(factor, float) and 0 <= factor <= 1 for factor in factors)
    assert factors[0] > 0


@pytest.mark.parametrize("kind", [Constant, Poly, Cosine, MultiStep])
def test_warm_up_only_changes_the_start(kind: type[Schedule]) -> None:
    warm = [kind(warmup_steps=20).factor(step, TOTAL) for step in range(TOTAL)]
    cold = [kind().factor(step, TOTAL) for step in range(TOTAL)]
    assert all(earlier < later for earlier, later in pairwise(warm[:20]))
    assert warm[19:] == cold[19:]


@every_schedule
def test_decay_never_rises(schedule: Schedule) -> None:
    factors = [schedule.factor(step, TOTAL) for step in range(schedule.warmup_steps, TOTAL + 5)]
    assert factors == sorted(factors, reverse=True)


def optimizer_and_scheduler(schedule: Schedule) -> tuple[torch.optim.Optimizer, LambdaLR]:
    encoder, decoder = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    optimizer = torch.optim.SGD([{"params": [encoder], "lr": 0.01}, {"params": [decoder], "lr": 0.1}])
    return optimizer, make_scheduler(optimizer, schedule, TOTAL)


def take_steps(optimizer: torch.optim.Optimizer, scheduler: LambdaLR, steps: int) -> list[list[float]]:
    """Return the rates of all parameter groups in each step."""
    rates = []
    for _ in range(steps):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return rates


@every_schedule
def test_factor_scales_every_group(schedule: Schedule) -> None:
    rates = take_steps(*optimizer_and_scheduler(schedule), TOTAL + 5)
    factors = [schedule.factor(step, TOTAL) for step in range(TOTAL + 5)]
    assert rates == [[0.01 * factor, 0.1 * factor] for factor in factors]


@every_schedule
@pytest.mark.parametrize("step", [1, 10, 101])
def test_resume_continues_the_rates(schedule: Schedule, step: int) -> None:
    uninterrupted = take_steps(*optimizer_and_scheduler(schedule), TOTAL)
    optimizer, scheduler = optimizer_and_scheduler(schedule)
    before = take_steps(optimizer, scheduler, step)
    saved = optimizer.state_dict(), scheduler.state_dict()
    optimizer, scheduler = optimizer_and_scheduler(schedule)
    optimizer.load_state_dict(saved[0])
    scheduler.load_state_dict(saved[1])
    assert before + take_steps(optimizer, scheduler, TOTAL - step) == uninterrupted


def test_scheduler_state_omits_the_schedule() -> None:
    optimizer, scheduler = optimizer_and_scheduler(Poly())
    take_steps(optimizer, scheduler, 30)
    _, other = optimizer_and_scheduler(Cosine())
    other.load_state_dict(scheduler.state_dict())
    other.optimizer.step()
    other.step()
    assert other.get_last_lr()[1] == 0.1 * Cosine().factor(31, TOTAL)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (Constant, {"warmup_steps": -1}),
        (Poly, {"warmup_steps": -1}),
        (Poly, {"power": 0.0}),
        (Cosine, {"final_factor": 1.5}),
        (Cosine, {"final_factor": -0.1}),
        (MultiStep, {"milestones": (0.8, 0.6)}),
        (MultiStep, {"milestones": (0.5, 1.0)}),
        (MultiStep, {"milestones": (30.0, 60.0)}),
        (MultiStep, {"gamma": 10.0}),
    ],
)
def test_refuses_invalid_values_by_name(kind: type[Schedule], wrong: dict[str, Any]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(UserError) as caught:
        kind(**wrong)
    assert f"{kind.__name__}: {name} is {value}; expected " in str(caught.value)


def test_refuses_run_without_steps() -> None:
    with pytest.raises(UserError, match="0 training steps; expected at least 1"):
        make_scheduler(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1), Poly(), 0)
