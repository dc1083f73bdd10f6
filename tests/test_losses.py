"""Losses against their definitions in numpy, and the contract about ignored pixels."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.errors import UserError
from refinenet_pl.training.losses import OHEM, CrossEntropy, Dice, Focal, Lovasz, WeightedSum

CLASSES = 5
WEIGHTS = [0.5, 2.0, 1.0, 0.0, 3.0]

LOSSES: dict[str, Callable[[], nn.Module]] = {
    "cross-entropy": CrossEntropy,
    "weighted, smoothed cross-entropy": lambda: CrossEntropy(WEIGHTS, label_smoothing=0.1),
    "ohem": OHEM,
    "weighted ohem": lambda: OHEM(0.5, 0.3, WEIGHTS),
    "focal": Focal,
    "weighted focal of power below 1": lambda: Focal(0.5, WEIGHTS),
    "dice": Dice,
    "lovasz": Lovasz,
    "sum": lambda: WeightedSum([CrossEntropy(), Dice(), WeightedSum([Lovasz()], [2.0])], [1.0, 0.5, 1.0]),
}
every_loss = pytest.mark.parametrize("loss", [pytest.param(make(), id=name) for name, make in LOSSES.items()])


def batch(absent: int | None = None, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits and target of two 6 x 7 images, about 20 % ignored; one class may be absent."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, CLASSES, 6, 7, generator=generator)
    target = torch.randint(0, CLASSES, (2, 6, 7), generator=generator)
    if absent is not None:
        target[target == absent] = (absent + 1) % CLASSES
    target[torch.rand(2, 6, 7, generator=generator) < 0.2] = IGNORE_INDEX
    assert 0 < (target == IGNORE_INDEX).sum() < target.numel()
    return logits.requires_grad_(), target


def valid_pixels(logits: Tensor, target: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Softmax probabilities [P, C] in float64 and target [P] of the valid pixels, computed in numpy."""
    raw = np.moveaxis(logits.detach().numpy().astype(np.float64), 1, -1)
    exponentials = np.exp(raw - raw.max(axis=-1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=-1, keepdims=True)
    classes = target.numpy()
    return probabilities[classes != IGNORE_INDEX], classes[classes != IGNORE_INDEX]


def target_probabilities(logits: Tensor, target: Tensor) -> tuple[np.ndarray, np.ndarray]:
    probabilities, classes = valid_pixels(logits, target)
    return probabilities[np.arange(len(classes)), classes], classes


@every_loss
def test_ignored_batch_gives_zero(loss: nn.Module) -> None:
    logits, target = batch()
    value = loss(logits, torch.full_like(target, IGNORE_INDEX))
    value.backward()
    assert value.shape == ()
    assert value.item() == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@every_loss
def test_ignored_pixels_get_no_gradient(loss: nn.Module) -> None:
    logits, target = batch()
    (gradient,) = torch.autograd.grad(loss(logits, target), logits)
    gradient = gradient.movedim(1, -1)
    assert torch.isfinite(gradient).all()
    assert (gradient[target == IGNORE_INDEX] == 0).all()
    assert (gradient[target != IGNORE_INDEX] != 0).any()


@every_loss
def test_ignored_logits_do_not_matter(loss: nn.Module) -> None:
    logits, target = batch()
    changed = torch.where(
        (target == IGNORE_INDEX).unsqueeze(1), torch.tensor([50.0, -9, 0, 7, 1]).view(1, -1, 1, 1), logits
    )
    assert loss(changed, target).item() == loss(logits, target).item()


@every_loss
def test_position_does_not_matter(loss: nn.Module) -> None:
    logits, target = batch()
    flat = logits.movedim(1, 0).reshape(1, CLASSES, 1, -1)
    padded = F.pad(flat, (0, 40)), F.pad(target.reshape(1, 1, -1), (0, 40), value=IGNORE_INDEX)
    torch.testing.assert_close(loss(*padded), loss(logits, target))


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_computes_in_float32(loss: nn.Module, dtype: torch.dtype) -> None:
    logits, target = batch()
    halved = logits.detach().to(dtype)
    value = loss(halved, target)
    assert value.dtype == torch.float32
    assert value.item() == loss(halved.float(), target).item()


@every_loss
def test_autocast_keeps_the_value(loss: nn.Module) -> None:
    logits, target = batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(logits, target)
    assert inside.item() == loss(logits, target).item()


@every_loss
def test_saturated_logits_stay_finite(loss: nn.Module) -> None:
    logits, target = batch()
    saturated = (logits.detach() * 1e4).requires_grad_()
    value = loss(saturated, target)
    assert torch.isfinite(value)
    assert torch.isfinite(torch.autograd.grad(value, saturated)[0]).all()


@every_loss
def test_state_dict_is_empty(loss: nn.Module) -> None:
    assert loss.state_dict() == {}


@pytest.mark.parametrize("make", [CrossEntropy, OHEM, Focal])
def test_half_precision_keeps_weights(make: type[nn.Module]) -> None:
    logits, target = batch()
    weights = [0.5, 2.0, 1.0, 0.25, 4.0]  # exact in bfloat16
    expected = make(class_weights=weights)(logits, target)
    torch.testing.assert_close(make(class_weights=weights).to(torch.bfloat16)(logits, target), expected)


@pytest.mark.parametrize("make", [CrossEntropy, OHEM, Focal])
def test_refuses_wrong_number_of_weights(make: type[nn.Module]) -> None:
    with pytest.raises(UserError, match=r"class_weights has 2 values.* predicts 5 classes"):
        make(class_weights=[1.0, 2.0])(*batch())


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_equals_torch(weights: list[float] | None, smoothing: float) -> None:
    logits, target = batch()
    tensor = None if weights is None else torch.tensor(weights)
    expected = F.cross_entropy(logits, target, weight=tensor, ignore_index=IGNORE_INDEX, label_smoothing=smoothing)
    value = CrossEntropy(weights, smoothing)(logits, target)
    torch.testing.assert_close(value, expected)
    (gradient,) = torch.autograd.grad(value, logits)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, logits)[0])


def test_cross_entropy_is_its_formula() -> None:
    logits, target = batch()
    p, classes = target_probabilities(logits, target)
    expected = np.average(-np.log(p), weights=np.array(WEIGHTS)[classes])
    assert CrossEntropy(WEIGHTS)(logits, target).item() == pytest.approx(expected, rel=1e-5)


def test_zero_weights_give_zero() -> None:
    logits, target = batch()
    only = torch.where(target == IGNORE_INDEX, IGNORE_INDEX, 3)
    assert CrossEntropy(WEIGHTS)(logits, only).item() == 0


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize(("threshold", "min_kept"), [(0.7, 1 / 16), (0.3, 0.05), (1e-6, 0.25), (1e-6, 1e-9)])
def test_ohem_is_its_formula(threshold: float, min_kept: float, weights: list[float] | None) -> None:
    logits, target = batch()
    p, classes = target_probabilities(logits, target)
    taken = np.argsort(p)[: max((p < threshold).sum(), math.ceil(min_kept * len(p)))]
    expected = np.average(-np.log(p[taken]), weights=np.array(weights or [1.0] * CLASSES)[classes[taken]])
    assert OHEM(threshold, min_kept, weights)(logits, target).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("everything", [{"threshold": 1.0}, {"threshold": 0.1, "min_kept": 1.0}])
def test_ohem_of_all_is_cross_entropy(everything: dict[str, Any]) -> None:
    logits, target = batch()
    torch.testing.assert_close(
        OHEM(class_weights=WEIGHTS, **everything)(logits, target), CrossEntropy(WEIGHTS)(logits, target)
    )


@pytest.mark.parametrize("wrong", [{"threshold": 0.0}, {"threshold": 1.5}, {"min_kept": 0.0}, {"min_kept": 4096.0}])
def test_ohem_refuses_invalid_values(wrong: dict[str, Any]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(UserError, match=f"{name} is {value}; expected"):
        OHEM(**wrong)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_focal_is_its_formula(gamma: float, weights: list[float] | None) -> None:
    logits, target = batch()
    p, classes = target_probabilities(logits, target)
    expected = np.average(-((1 - p) ** gamma) * np.log(p), weights=np.array(weights or [1.0] * CLASSES)[classes])
    assert Focal(gamma, weights)(logits, target).item() == pytest.approx(expected, rel=1e-5)


def test_focal_of_gamma_0_is_cross_entropy() -> None:
    logits, target = batch()
    torch.testing.assert_close(Focal(0.0, WEIGHTS)(logits, target), CrossEntropy(WEIGHTS)(logits, target))


@pytest.mark.parametrize("absent", [None, 2])
def test_dice_is_its_formula(absent: int | None) -> None:
    logits, target = batch(absent)
    p, classes = valid_pixels(logits, target)
    dice = [2 * p[classes == c, c].sum() / (p[:, c].sum() + (classes == c).sum()) for c in np.unique(classes)]
    assert len(dice) == CLASSES - (absent is not None)
    assert Dice()(logits, target).item() == pytest.approx(1 - np.mean(dice), rel=1e-5)


def test_dice_equals_smp() -> None:
    logits, target = batch()
    expected = smp.losses.DiceLoss(mode="multiclass", ignore_index=IGNORE_INDEX)(logits, target)
    torch.testing.assert_close(Dice()(logits, target), expected)


def jaccard_loss(wrong: set[int], members: set[int]) -> float:
    """One minus the IoU of a class if exactly the pixels in `wrong` are wrong: equation 6 of the paper."""
    return len(wrong) / len(members | wrong)


@pytest.mark.parametrize("absent", [None, 2])
def test_lovasz_is_its_formula(absent: int | None) -> None:
    logits, target = batch(absent)
    p, classes = valid_pixels(logits, target)
    losses = []
    for index in np.unique(classes):
        errors = np.where(classes == index, 1 - p[:, index], p[:, index])
        members = {int(i) for i in np.flatnonzero(classes == index)}
        order = [int(i) for i in np.argsort(-errors)]
        growth = [
            jaccard_loss(set(order[: i + 1]), members) - jaccard_loss(set(order[:i]), members) for i in range(len(p))
        ]
        losses.append(errors[order] @ growth)
    assert Lovasz()(logits, target).item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_lovasz_equals_smp() -> None:
    logits, target = batch(absent=1)
    value = Lovasz()(logits, target)
    expected = smp.losses.LovaszLoss(mode="multiclass", ignore_index=IGNORE_INDEX)(logits, target)
    torch.testing.assert_close(value, expected)
    (gradient,) = torch.autograd.grad(value, logits)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, logits)[0], rtol=1e-4, atol=1e-7)


def test_lovasz_of_hard_predictions() -> None:
    logits, target = batch()
    prediction = logits.argmax(dim=1)
    saturated = 1e4 * F.one_hot(prediction, CLASSES).movedim(-1, 1).float()
    guess, classes = prediction[target != IGNORE_INDEX].numpy(), target[target != IGNORE_INDEX].numpy()
    iou = [((guess == c) & (classes == c)).sum() / ((guess == c) | (classes == c)).sum() for c in np.unique(classes)]
    assert Lovasz()(saturated, target).item() == pytest.approx(1 - np.mean(iou), rel=1e-5)


def test_lovasz_is_exact_on_many_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2, 512, 512, generator=generator).requires_grad_()
    target = (torch.rand(1, 512, 512, generator=generator) < 0.4).long()
    (gradient,) = torch.autograd.grad(Lovasz()(logits, target), logits)
    # Differences of the Jaccard loss in float64; in float32 they have an error of 0.5 % at this size.
    p, classes = valid_pixels(logits, target)
    slopes = np.zeros(len(classes))  # derivative of the loss with respect to the probability of class 1
    for index, sign in ((0, -1), (1, 1)):
        member = classes == index
        order = np.argsort(-np.where(member, 1 - p[:, index], p[:, index]))
        correct = member[order].cumsum()
        jaccard = 1 - (member.sum() - correct) / (member.sum() + np.arange(1, len(order) + 1) - correct)
        slopes[order] += sign * np.where(member[order], -1, 1) * np.diff(jaccard, prepend=0) / 2
    expected = slopes * p[:, 0] * p[:, 1]
    error = np.linalg.norm(gradient[0, 1].flatten().numpy() - expected) / np.linalg.norm(expected)
    assert error < 1e-4


def test_weighted_sum_adds_its_terms() -> None:
    logits, target = batch()
    value = WeightedSum([CrossEntropy(), Dice()], [0.25, 3.0])(logits, target)
    torch.testing.assert_close(value, 0.25 * CrossEntropy()(logits, target) + 3 * Dice()(logits, target))


@pytest.mark.parametrize(("losses", "weights"), [([CrossEntropy(), Dice()], [1.0]), ([], [])])
def test_weighted_sum_needs_weights(losses: list[nn.Module], weights: list[float]) -> None:
    with pytest.raises(UserError, match=f"{len(losses)} losses and {len(weights)} weights"):
        WeightedSum(losses, weights)


@pytest.mark.parametrize("make", [CrossEntropy, Focal, OHEM])
def test_inverse_log_weights_are_those_of_the_batch(make):
    logits, target = batch()
    share = np.bincount(target[target != IGNORE_INDEX].numpy(), minlength=5) / (target != IGNORE_INDEX).sum().item()
    fixed = (1 / np.log(1.02 + share)).tolist()
    torch.testing.assert_close(
        make(class_weights="inverse_log")(logits, target), make(class_weights=fixed)(logits, target)
    )
    ignored = torch.full_like(target, IGNORE_INDEX)
    logits.requires_grad_()
    loss = make(class_weights="inverse_log")(logits, ignored)
    loss.backward()
    assert loss == 0
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("name", ["inverse", ""])
def test_unknown_weighting_is_refused(name):
    with pytest.raises(UserError, match=f"class_weights is '{name}'; expected one weight per class, or inverse_log"):
        CrossEntropy(name)
