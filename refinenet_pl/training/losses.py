"""Losses of logits [N, C, H, W] and a target [N, H, W] (int64, 0..C-1 or IGNORE_INDEX). Each is a float32 scalar.

All losses follow one contract. Ignored pixels add neither value nor gradient. If all pixels of a batch are ignored,
the loss is exactly 0 and stays connected to the graph, so that `backward` gives every parameter a gradient of zeros:
in data-parallel training a process whose crops are all ignored must still take part. The arithmetic is float32 for
logits of any type.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.errors import UserError

_TINY = torch.finfo(torch.float32).tiny

ClassWeights = list[float] | Literal["inverse_log"] | None
"""The weights of the classes: see `ClassWeighted`."""


class ClassWeighted(nn.Module):
    """Base of the losses that are a weighted mean over pixels. The weight of a pixel is the weight of its class.

    Args:
        class_weights: One weight per class. Their sum does not matter, because the mean divides by the weights of its
            pixels. If their number is not C, `forward` raises a `UserError`. "inverse_log": 1 / ln(1.02 + p), where p
            is the class's share of the valid pixels of the batch on this device, so that rare classes count more on any
            dataset; ENet (Paszke et al., 2016) takes p from the whole training split, as `refinenet class-weights`
            does. None gives all classes the same weight.
    """

    class_weights: Tensor | None

    def __init__(self, class_weights: ClassWeights = None) -> None:
        super().__init__()
        self.by_batch = isinstance(class_weights, str)
        if self.by_batch and class_weights != "inverse_log":
            raise UserError(f"class_weights is {class_weights!r}; expected one weight per class, or inverse_log")
        fixed = None if class_weights is None or self.by_batch else torch.tensor(class_weights, dtype=torch.float32)
        # Not persistent: weights are settings, and a checkpoint must load with any loss.
        self.register_buffer("class_weights", fixed, persistent=False)

    def _weights(self, target: Tensor, classes: int) -> Tensor | None:
        """Return the class weights as float32 [C], or None."""
        if self.by_batch:
            pixels = torch.bincount(target[target != IGNORE_INDEX], minlength=classes).float()
            return 1 / torch.log(1.02 + pixels / pixels.sum().clamp_min(1))
        if self.class_weights is None:
            return None
        if len(self.class_weights) != classes:
            raise UserError(
                f"class_weights has {len(self.class_weights)} values, but the network predicts {classes} classes; "
                "give one weight per class, in the order of the class indices"
            )
        # Casting the module to half precision casts its buffers too.
        return self.class_weights.float()

    def _pixel_weights(self, target: Tensor, weights: Tensor | None) -> Tensor:
        """Return the weight of each pixel, float32 [N, H, W]: 0 if ignored, else the weight of its class, or 1."""
        valid = target != IGNORE_INDEX
        return valid.float() if weights is None else weights[target.where(valid, 0)] * valid


class CrossEntropy(ClassWeighted):
    """Cross-entropy, the weighted mean over valid pixels. As in torch, but 0 instead of NaN if all pixels are ignored.

    Args:
        class_weights: See `ClassWeighted`.
        label_smoothing: Fraction of the target that is spread evenly over all classes, 0..1.
    """

    def __init__(self, class_weights: ClassWeights = None, label_smoothing: float = 0.0) -> None:
        super().__init__(class_weights)
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        weights = self._weights(target, logits.shape[1])
        losses = F.cross_entropy(
            logits.float(),
            target,
            weight=weights,
            ignore_index=IGNORE_INDEX,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )
        return _ratio(losses.sum(), self._pixel_weights(target, weights).sum())


class OHEM(ClassWeighted):
    """Online hard example mining (Shrivastava et al., CVPR 2016): cross-entropy over the hard pixels only.

    A valid pixel is hard if the probability of its target class is below `threshold`. If fewer than
    k = ceil(min_kept * number of valid pixels of the batch) are hard, the k pixels of lowest probability are kept,
    including all ties with the last one. The loss is the weighted mean over the kept pixels.

    Args:
        threshold: Probability, above 0 and at most 1; 1 keeps every pixel whose probability is below 1.
        min_kept: Fraction of the valid pixels, above 0 and at most 1; 1 makes this plain cross-entropy.
        class_weights: See `ClassWeighted`. They do not change which pixels are hard.

    Raises:
        UserError: `threshold` or `min_kept` is out of range.
    """

    def __init__(self, threshold: float = 0.7, min_kept: float = 1 / 16, class_weights: ClassWeights = None) -> None:
        super().__init__(class_weights)
        for name, value in (("threshold", threshold), ("min_kept", min_kept)):
            if not 0 < value <= 1:
                raise UserError(f"OHEM: {name} is {value}; expected a number above 0 and at most 1")
        self.hard_loss = -math.log(threshold)
        self.min_kept = min_kept

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        valid = target != IGNORE_INDEX
        losses = _pixel_losses(logits, target)[valid]
        if losses.numel() == 0:
            return losses.sum()
        hardness = losses.detach()
        kept = math.ceil(self.min_kept * len(hardness))
        last_kept = hardness.topk(kept, sorted=False).values.min()
        hard = (hardness > self.hard_loss) | (hardness >= last_kept)
        weights = self._pixel_weights(target, self._weights(target, logits.shape[1]))[valid] * hard
        return _ratio((losses * weights).sum(), weights.sum())


class Focal(ClassWeighted):
    """Softmax focal loss (Lin et al., ICCV 2017): -(1 - p)^gamma log p, the weighted mean over valid pixels.

    p is the softmax probability of the pixel's target class. The mean is over pixels, so that gamma = 0 gives
    cross-entropy. The paper's detector divides by the number of foreground boxes instead.

    Args:
        gamma: How strongly easy pixels are weighted down, at least 0.
        class_weights: See `ClassWeighted`; the paper's alpha.
    """

    def __init__(self, gamma: float = 2.0, class_weights: ClassWeights = None) -> None:
        super().__init__(class_weights)
        self.gamma = gamma

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        losses = _pixel_losses(logits, target)
        # At p = 1 (which ignored pixels have too) a power below 1 has an infinite slope: the gradient would be NaN.
        modulation = (-torch.expm1(-losses)).clamp_min(_TINY) ** self.gamma
        weights = self._pixel_weights(target, self._weights(target, logits.shape[1]))
        return _ratio((modulation * losses * weights).sum(), weights.sum())


class Dice(nn.Module):
    """Soft Dice loss: one minus 2 sum(p t) / (sum(p) + sum(t)), each sum over the valid pixels of the batch.

    p is the softmax probability of a class; t is 1 on its pixels. The mean is over the classes in the batch. A common
    variant counts absent classes as 0. This scales the gradient by the number of classes in a crop, and makes the
    loss negligible next to another one on data with many classes.
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        valid = (target != IGNORE_INDEX).unsqueeze(1)
        probabilities = logits.float().softmax(dim=1) * valid
        classes = torch.arange(logits.shape[1], device=target.device).view(1, -1, 1, 1)
        members = target.unsqueeze(1) == classes  # bool: one-hot floats or int64 would take more memory than the logits
        intersection = (probabilities * members).sum(dim=(0, 2, 3))
        pixels = members.sum(dim=(0, 2, 3))
        dice = 2 * intersection / (probabilities.sum(dim=(0, 2, 3)) + pixels).clamp_min(_TINY)
        present = pixels > 0
        return _ratio(((1 - dice) * present).sum(), present.sum())


class Lovasz(nn.Module):
    """Lovász-softmax loss (Berman et al., CVPR 2018): the convex extension of one minus IoU to soft predictions.

    It covers all valid pixels of the batch together, and averages over the classes in the batch.
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        valid = target != IGNORE_INDEX
        probabilities = logits.movedim(1, -1)[valid].float().softmax(dim=-1)
        target = target[valid]
        losses = [_lovasz_extension(probabilities[:, index], target == index) for index in target.unique().tolist()]
        return torch.stack(losses).mean() if losses else probabilities.sum()


class WeightedSum(nn.Module):
    """Weighted sum of losses.

    Attributes:
        terms: The weighted losses of the last call by the names of their classes, without gradients. They are logged.

    Args:
        losses: The losses.
        weights: One factor per loss.

    Raises:
        UserError: There is no loss, or the numbers of losses and weights differ.
    """

    def __init__(self, losses: list[nn.Module], weights: list[float]) -> None:
        super().__init__()
        if not losses or len(losses) != len(weights):
            raise UserError(
                f"WeightedSum: {len(losses)} losses and {len(weights)} weights; expected one weight per loss, "
                "and at least one loss"
            )
        self.losses = nn.ModuleList(losses)
        self.weights = list(weights)
        self.terms: dict[str, Tensor] = {}

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        terms = [weight * loss(logits, target) for loss, weight in zip(self.losses, self.weights, strict=True)]
        names = [type(loss).__name__ for loss in self.losses]
        numbered = (f"{name}_{index}" if names.count(name) > 1 else name for index, name in enumerate(names))
        self.terms = {name: term.detach() for name, term in zip(numbered, terms, strict=True)}
        return torch.stack(terms).sum()


def _pixel_losses(logits: Tensor, target: Tensor) -> Tensor:
    """Return minus the log-probability of each pixel's target class, float32 [N, H, W]; 0 if ignored."""
    return F.cross_entropy(logits.float(), target, ignore_index=IGNORE_INDEX, reduction="none")


def _ratio(total: Tensor, weight: Tensor) -> Tensor:
    """Return the total divided by its weight; 0, connected to the total's graph, if the weight is 0."""
    return total * (weight > 0) / weight.clamp_min(_TINY)


def _lovasz_extension(probability: Tensor, members: Tensor) -> Tensor:
    """Return the Lovász extension of one class's Jaccard loss.

    Args:
        probability: Probability of the class at each pixel, [P].
        members: Whether each pixel has this class in the target, bool [P].
    """
    errors = torch.where(members, 1 - probability, probability)
    order = errors.detach().argsort(descending=True)
    ranked = members[order]
    # Intersection and union if exactly the first i pixels in this order were wrong.
    intersection = ranked.sum() - ranked.cumsum(0)
    union = ranked.sum() + (~ranked).cumsum(0)
    # Growth of the Jaccard loss at pixel i, in closed form. Differences of neighbors would be lost in float32 rounding:
    # the values are near 1 and differ by about one over the number of pixels.
    growth = torch.where(ranked, 1 / union, intersection / (union * (union - 1)))
    # Slopes of the errors, constant for a given order. Scattered back, so that the graph does not keep the order.
    slopes = torch.empty_like(growth).scatter_(0, order, growth)
    return (errors * slopes).sum()
