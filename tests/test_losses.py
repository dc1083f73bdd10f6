"""Every loss against its definition in numpy, and the contract about void pixels that all of them keep."""

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
    """Logits with a gradient and labels, about 20 % of them void, of two images of 6 x 7; one class may not occur."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, CLASSES, 6, 7, generator=generator)
    labels = torch.randint(0, CLASSES, (2, 6, 7), generator=generator)
    if absent is not None:
        labels[labels == absent] = (absent + 1) % CLASSES
    labels[torch.rand(2, 6, 7, generator=generator) < 0.2] = IGNORE_INDEX
    assert 0 < (labels == IGNORE_INDEX).sum() < labels.numel()
    return logits.requires_grad_(), labels


def valid_pixels(logits: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Softmax probabilities [P, C] in float64 and labels [P] of the valid pixels, without torch's arithmetic."""
    scores = np.moveaxis(logits.detach().numpy().astype(np.float64), 1, -1)
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=-1, keepdims=True)
    truth = labels.numpy()
    return probabilities[truth != IGNORE_INDEX], truth[truth != IGNORE_INDEX]


def true_probabilities(logits: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    probabilities, truth = valid_pixels(logits, labels)
    return probabilities[np.arange(len(truth)), truth], truth


@every_loss
def test_an_all_void_batch_gives_zero_and_gradients_of_zeros(loss: nn.Module) -> None:
    logits, labels = batch()
    value = loss(logits, torch.full_like(labels, IGNORE_INDEX))
    value.backward()
    assert value.shape == ()
    assert value.item() == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@every_loss
def test_void_pixels_get_no_gradient_and_others_do(loss: nn.Module) -> None:
    logits, labels = batch()
    (gradient,) = torch.autograd.grad(loss(logits, labels), logits)
    gradient = gradient.movedim(1, -1)
    assert torch.isfinite(gradient).all()
    assert (gradient[labels == IGNORE_INDEX] == 0).all()
    assert (gradient[labels != IGNORE_INDEX] != 0).any()


@every_loss
def test_the_value_does_not_depend_on_logits_at_void_pixels(loss: nn.Module) -> None:
    logits, labels = batch()
    changed = torch.where(
        (labels == IGNORE_INDEX).unsqueeze(1), torch.tensor([50.0, -9, 0, 7, 1]).view(1, -1, 1, 1), logits
    )
    assert loss(changed, labels).item() == loss(logits, labels).item()


@every_loss
def test_the_value_does_not_depend_on_where_pixels_are_nor_on_added_void(loss: nn.Module) -> None:
    logits, labels = batch()
    flat = logits.movedim(1, 0).reshape(1, CLASSES, 1, -1)
    padded = F.pad(flat, (0, 40)), F.pad(labels.reshape(1, 1, -1), (0, 40), value=IGNORE_INDEX)
    torch.testing.assert_close(loss(*padded), loss(logits, labels))


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_give_the_float32_loss_of_their_values(loss: nn.Module, dtype: torch.dtype) -> None:
    logits, labels = batch()
    halved = logits.detach().to(dtype)
    value = loss(halved, labels)
    assert value.dtype == torch.float32
    assert value.item() == loss(halved.float(), labels).item()


@every_loss
def test_autocast_does_not_change_the_value(loss: nn.Module) -> None:
    logits, labels = batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(logits, labels)
    assert inside.item() == loss(logits, labels).item()


@every_loss
def test_saturated_logits_give_finite_gradients(loss: nn.Module) -> None:
    logits, labels = batch()
    saturated = (logits.detach() * 1e4).requires_grad_()
    value = loss(saturated, labels)
    assert torch.isfinite(value)
    assert torch.isfinite(torch.autograd.grad(value, saturated)[0]).all()


@every_loss
def test_no_loss_leaves_anything_in_a_checkpoint(loss: nn.Module) -> None:
    assert loss.state_dict() == {}


@pytest.mark.parametrize("make", [CrossEntropy, OHEM, Focal])
def test_a_module_cast_to_half_precision_still_weighs_classes(make: type[nn.Module]) -> None:
    logits, labels = batch()
    weights = [0.5, 2.0, 1.0, 0.25, 4.0]  # exact in bfloat16
    expected = make(class_weights=weights)(logits, labels)
    torch.testing.assert_close(make(class_weights=weights).to(torch.bfloat16)(logits, labels), expected)


@pytest.mark.parametrize("make", [CrossEntropy, OHEM, Focal])
def test_class_weights_of_the_wrong_number_are_refused_with_both_numbers(make: type[nn.Module]) -> None:
    with pytest.raises(UserError, match=r"class_weights has 2 values.* predicts 5 classes"):
        make(class_weights=[1.0, 2.0])(*batch())


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_that_of_torch(weights: list[float] | None, smoothing: float) -> None:
    logits, labels = batch()
    tensor = None if weights is None else torch.tensor(weights)
    expected = F.cross_entropy(logits, labels, weight=tensor, ignore_index=IGNORE_INDEX, label_smoothing=smoothing)
    value = CrossEntropy(weights, smoothing)(logits, labels)
    torch.testing.assert_close(value, expected)
    (gradient,) = torch.autograd.grad(value, logits)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, logits)[0])


def test_cross_entropy_is_the_weighted_mean_of_minus_log_p() -> None:
    logits, labels = batch()
    p, truth = true_probabilities(logits, labels)
    expected = np.average(-np.log(p), weights=np.array(WEIGHTS)[truth])
    assert CrossEntropy(WEIGHTS)(logits, labels).item() == pytest.approx(expected, rel=1e-5)


def test_classes_of_weight_zero_alone_give_zero_instead_of_nan() -> None:
    logits, labels = batch()
    only = torch.where(labels == IGNORE_INDEX, IGNORE_INDEX, 3)
    assert CrossEntropy(WEIGHTS)(logits, only).item() == 0


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize(("threshold", "min_kept"), [(0.7, 1 / 16), (0.3, 0.05), (1e-6, 0.25), (1e-6, 1e-9)])
def test_ohem_is_the_mean_over_pixels_below_the_threshold_or_the_hardest(
    threshold: float, min_kept: float, weights: list[float] | None
) -> None:
    logits, labels = batch()
    p, truth = true_probabilities(logits, labels)
    taken = np.argsort(p)[: max((p < threshold).sum(), math.ceil(min_kept * len(p)))]
    expected = np.average(-np.log(p[taken]), weights=np.array(weights or [1.0] * CLASSES)[truth[taken]])
    assert OHEM(threshold, min_kept, weights)(logits, labels).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("everything", [{"threshold": 1.0}, {"threshold": 0.1, "min_kept": 1.0}])
def test_ohem_that_takes_every_pixel_is_cross_entropy(everything: dict[str, Any]) -> None:
    logits, labels = batch()
    torch.testing.assert_close(
        OHEM(class_weights=WEIGHTS, **everything)(logits, labels), CrossEntropy(WEIGHTS)(logits, labels)
    )


@pytest.mark.parametrize("wrong", [{"threshold": 0.0}, {"threshold": 1.5}, {"min_kept": 0.0}, {"min_kept": 4096.0}])
def test_ohem_refuses_values_outside_their_range(wrong: dict[str, Any]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(UserError, match=f"{name} is {value}; expected"):
        OHEM(**wrong)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_focal_is_its_formula(gamma: float, weights: list[float] | None) -> None:
    logits, labels = batch()
    p, truth = true_probabilities(logits, labels)
    expected = np.average(-((1 - p) ** gamma) * np.log(p), weights=np.array(weights or [1.0] * CLASSES)[truth])
    assert Focal(gamma, weights)(logits, labels).item() == pytest.approx(expected, rel=1e-5)


def test_focal_of_power_zero_is_cross_entropy() -> None:
    logits, labels = batch()
    torch.testing.assert_close(Focal(0.0, WEIGHTS)(logits, labels), CrossEntropy(WEIGHTS)(logits, labels))


@pytest.mark.parametrize("absent", [None, 2])
def test_dice_is_its_formula_over_the_classes_present(absent: int | None) -> None:
    logits, labels = batch(absent)
    p, truth = valid_pixels(logits, labels)
    dice = [2 * p[truth == c, c].sum() / (p[:, c].sum() + (truth == c).sum()) for c in np.unique(truth)]
    assert len(dice) == CLASSES - (absent is not None)
    assert Dice()(logits, labels).item() == pytest.approx(1 - np.mean(dice), rel=1e-5)


def test_dice_is_that_of_smp_where_every_class_is_present() -> None:
    logits, labels = batch()
    expected = smp.losses.DiceLoss(mode="multiclass", ignore_index=IGNORE_INDEX)(logits, labels)
    torch.testing.assert_close(Dice()(logits, labels), expected)


def jaccard_loss(wrong: set[int], members: set[int]) -> float:
    """One minus the IoU of a class if the pixels in `wrong` are mistaken and no others: equation 6 of the paper."""
    return len(wrong) / len(members | wrong)


@pytest.mark.parametrize("absent", [None, 2])
def test_lovasz_is_the_extension_of_the_jaccard_set_function(absent: int | None) -> None:
    logits, labels = batch(absent)
    p, truth = valid_pixels(logits, labels)
    losses = []
    for index in np.unique(truth):
        errors = np.where(truth == index, 1 - p[:, index], p[:, index])
        members = {int(i) for i in np.flatnonzero(truth == index)}
        order = [int(i) for i in np.argsort(-errors)]
        growth = [
            jaccard_loss(set(order[: i + 1]), members) - jaccard_loss(set(order[:i]), members) for i in range(len(p))
        ]
        losses.append(errors[order] @ growth)
    assert Lovasz()(logits, labels).item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_lovasz_and_its_gradient_are_those_of_smp() -> None:
    logits, labels = batch(absent=1)
    value = Lovasz()(logits, labels)
    expected = smp.losses.LovaszLoss(mode="multiclass", ignore_index=IGNORE_INDEX)(logits, labels)
    torch.testing.assert_close(value, expected)
    (gradient,) = torch.autograd.grad(value, logits)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, logits)[0], rtol=1e-4, atol=1e-7)


def test_lovasz_of_hard_predictions_is_one_minus_mean_iou() -> None:
    logits, labels = batch()
    prediction = logits.argmax(dim=1)
    saturated = 1e4 * F.one_hot(prediction, CLASSES).movedim(-1, 1).float()
    guess, truth = prediction[labels != IGNORE_INDEX].numpy(), labels[labels != IGNORE_INDEX].numpy()
    iou = [((guess == c) & (truth == c)).sum() / ((guess == c) | (truth == c)).sum() for c in np.unique(truth)]
    assert Lovasz()(saturated, labels).item() == pytest.approx(1 - np.mean(iou), rel=1e-5)


def test_lovasz_gradients_stay_exact_on_many_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2, 512, 512, generator=generator).requires_grad_()
    labels = (torch.rand(1, 512, 512, generator=generator) < 0.4).long()
    (gradient,) = torch.autograd.grad(Lovasz()(logits, labels), logits)
    # Differences of the Jaccard loss in float64: in float32 they are wrong by half a percent at this size.
    p, truth = valid_pixels(logits, labels)
    slopes = np.zeros(len(truth))  # of the loss by the probability of class 1
    for index, sign in ((0, -1), (1, 1)):
        member = truth == index
        order = np.argsort(-np.where(member, 1 - p[:, index], p[:, index]))
        hits = member[order].cumsum()
        jaccard = 1 - (member.sum() - hits) / (member.sum() + np.arange(1, len(order) + 1) - hits)
        slopes[order] += sign * np.where(member[order], -1, 1) * np.diff(jaccard, prepend=0) / 2
    expected = slopes * p[:, 0] * p[:, 1]
    error = np.linalg.norm(gradient[0, 1].flatten().numpy() - expected) / np.linalg.norm(expected)
    assert error < 1e-4


def test_a_weighted_sum_adds_its_terms() -> None:
    logits, labels = batch()
    value = WeightedSum([CrossEntropy(), Dice()], [0.25, 3.0])(logits, labels)
    torch.testing.assert_close(value, 0.25 * CrossEntropy()(logits, labels) + 3 * Dice()(logits, labels))


@pytest.mark.parametrize(("losses", "weights"), [([CrossEntropy(), Dice()], [1.0]), ([], [])])
def test_a_weighted_sum_wants_one_weight_a_loss(losses: list[nn.Module], weights: list[float]) -> None:
    with pytest.raises(UserError, match=f"{len(losses)} losses and {len(weights)} weights"):
        WeightedSum(losses, weights)
