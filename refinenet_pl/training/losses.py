"""Losses between logits [N, C, H, W] and labels [N, H, W] (int64, 0..C-1 or IGNORE_INDEX); each gives a float32 scalar.

All keep one contract. Void pixels add neither value nor gradient. A batch of nothing but void gives exactly 0 that
still hangs on the graph, so that `backward` gives every parameter a gradient of zeros: under data-parallel training
a process whose crop holds no label must still answer the others. Arithmetic is float32 whatever the logits' type.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.errors import UserError

_TINY = torch.finfo(torch.float32).tiny


class ClassWeighted(nn.Module):
    """Base of the losses that are a mean over pixels, weighted by the weight of each pixel's class.

    Args:
        class_weights: One weight per class, of any sum, since the mean is divided by the weights of the pixels in it;
            None weighs all classes alike. If their number is not C, `forward` raises a `UserError`.
    """

    class_weights: Tensor | None

    def __init__(self, class_weights: list[float] | None = None) -> None:
        super().__init__()
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        # Not persistent: weights are settings, and a checkpoint must load whatever loss it was trained with.
        self.register_buffer("class_weights", weights, persistent=False)

    def _weights(self, classes: int) -> Tensor | None:
        """The class weights as float32 [C], or None."""
        if self.class_weights is None:
            return None
        if len(self.class_weights) != classes:
            raise UserError(
                f"class_weights has {len(self.class_weights)} values, but the network predicts {classes} classes; "
                "give one weight per class, in the order of the train ids"
            )
        # A module cast to half precision takes its buffers along.
        return self.class_weights.float()

    def _pixel_weights(self, labels: Tensor, classes: int) -> Tensor:
        """The weight of every pixel, float32 [N, H, W]: 0 at void, elsewhere its class's, or 1."""
        valid = labels != IGNORE_INDEX
        weights = self._weights(classes)
        return valid.float() if weights is None else weights[labels.where(valid, 0)] * valid


class CrossEntropy(ClassWeighted):
    """Cross-entropy, the weighted mean over valid pixels: torch's own, but 0 instead of NaN on an all-void batch.

    Args:
        class_weights: See `ClassWeighted`.
        label_smoothing: Share of the target that is spread evenly over all classes, 0..1.
    """

    def __init__(self, class_weights: list[float] | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__(class_weights)
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss, a scalar."""
        losses = F.cross_entropy(
            logits.float(),
            labels,
            weight=self._weights(logits.shape[1]),
            ignore_index=IGNORE_INDEX,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )
        return _ratio(losses.sum(), self._pixel_weights(labels, logits.shape[1]).sum())


class OHEM(ClassWeighted):
    """Online hard example mining (Shrivastava et al., CVPR 2016): cross-entropy over the hard pixels only.

    A valid pixel is hard if the probability of its true class is below `threshold`. Where fewer than
    k = ceil(min_kept * number of valid pixels of the batch) are hard, the k of lowest probability are taken, with all
    that tie with the last of them. The loss is the weighted mean over the pixels taken.

    Args:
        threshold: Probability, above 0 and at most 1; 1 takes every pixel that is not already certain.
        min_kept: Fraction of the valid pixels, above 0 and at most 1; 1 makes this plain cross-entropy.
        class_weights: See `ClassWeighted`. They do not change which pixels are hard.

    Raises:
        UserError: If one of the first two is out of its range.
    """

    def __init__(
        self, threshold: float = 0.7, min_kept: float = 1 / 16, class_weights: list[float] | None = None
    ) -> None:
        super().__init__(class_weights)
        for name, value in (("threshold", threshold), ("min_kept", min_kept)):
            if not 0 < value <= 1:
                raise UserError(f"OHEM: {name} is {value}; expected a number above 0 and at most 1")
        self.hard_loss = -math.log(threshold)
        self.min_kept = min_kept

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss, a scalar."""
        valid = labels != IGNORE_INDEX
        losses = _pixel_losses(logits, labels)[valid]
        if losses.numel() == 0:
            return losses.sum()
        hardness = losses.detach()
        kept = math.ceil(self.min_kept * len(hardness))
        last_kept = hardness.topk(kept, sorted=False).values.min()
        hard = (hardness > self.hard_loss) | (hardness >= last_kept)
        weights = self._pixel_weights(labels, logits.shape[1])[valid] * hard
        return _ratio((losses * weights).sum(), weights.sum())


class Focal(ClassWeighted):
    """Softmax focal loss (Lin et al., ICCV 2017): -(1 - p)^gamma log p, the weighted mean over valid pixels.

    p is the softmax probability of the pixel's true class. The mean is over pixels, as in cross-entropy, which is
    what gamma = 0 gives; the paper's detector divides by the number of foreground boxes instead.

    Args:
        gamma: How strongly pixels that are already right are played down, at least 0.
        class_weights: See `ClassWeighted`; the paper's alpha.
    """

    def __init__(self, gamma: float = 2.0, class_weights: list[float] | None = None) -> None:
        super().__init__(class_weights)
        self.gamma = gamma

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss, a scalar."""
        losses = _pixel_losses(logits, labels)
        # At p = 1, void pixels among them, a power below 1 has an infinite slope, which would make the gradient NaN.
        modulation = (-torch.expm1(-losses)).clamp_min(_TINY) ** self.gamma
        weights = self._pixel_weights(labels, logits.shape[1])
        return _ratio((modulation * losses * weights).sum(), weights.sum())


class Dice(nn.Module):
    """Soft Dice loss: one minus 2 sum(p t) / (sum(p) + sum(t)), each sum over the valid pixels of the batch.

    p is the softmax probability of a class, t is 1 on its pixels. The mean is over the classes that occur in the
    batch. (Counting absent ones as 0, as is common, would scale the gradient by how many classes a crop happens to
    show, and make the loss vanish beside another one on data of many classes.)
    """

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss, a scalar."""
        valid = (labels != IGNORE_INDEX).unsqueeze(1)
        probabilities = logits.float().softmax(dim=1) * valid
        classes = torch.arange(logits.shape[1], device=labels.device).view(1, -1, 1, 1)
        truth = labels.unsqueeze(1) == classes  # bool, as one-hot float or int64 would outweigh the logits themselves
        intersection = (probabilities * truth).sum(dim=(0, 2, 3))
        pixels = truth.sum(dim=(0, 2, 3))
        dice = 2 * intersection / (probabilities.sum(dim=(0, 2, 3)) + pixels).clamp_min(_TINY)
        present = pixels > 0
        return _ratio(((1 - dice) * present).sum(), present.sum())


class Lovasz(nn.Module):
    """Lovász-softmax loss (Berman et al., CVPR 2018): the convex extension of one minus IoU to soft predictions.

    It is taken over all valid pixels of the batch at once, and averaged over the classes that occur among them.
    """

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss, a scalar."""
        valid = labels != IGNORE_INDEX
        probabilities = logits.movedim(1, -1)[valid].float().softmax(dim=-1)
        labels = labels[valid]
        losses = [_lovasz_extension(probabilities[:, index], labels == index) for index in labels.unique().tolist()]
        return torch.stack(losses).mean() if losses else probabilities.sum()


class WeightedSum(nn.Module):
    """The sum of several losses, each times its weight.

    Args:
        losses: The losses.
        weights: As many factors.

    Raises:
        UserError: If there is no loss, or not one weight for each.
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

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss, a scalar."""
        terms = [weight * loss(logits, labels) for loss, weight in zip(self.losses, self.weights, strict=True)]
        return torch.stack(terms).sum()


def _pixel_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Minus the log-probability of each pixel's true class, float32 [N, H, W]; 0 at void."""
    return F.cross_entropy(logits.float(), labels, ignore_index=IGNORE_INDEX, reduction="none")


def _ratio(total: Tensor, weight: Tensor) -> Tensor:
    """The total over its weight, or 0 with the total's graph where nothing weighs anything."""
    return total * (weight > 0) / weight.clamp_min(_TINY)


def _lovasz_extension(probability: Tensor, truth: Tensor) -> Tensor:
    """The Lovász extension of one class's Jaccard loss, from its probability [P] and its true pixels, bool [P]."""
    errors = torch.where(truth, 1 - probability, probability)
    order = errors.detach().argsort(descending=True)
    ranked = truth[order]
    # Were the first i pixels in this order the wrong ones, intersection and union would be these.
    intersection = ranked.sum() - ranked.cumsum(0)
    union = ranked.sum() + (~ranked).cumsum(0)
    # The Jaccard loss's growth at pixel i in closed form: differences of neighbors would drown in float32's rounding
    # (values near 1 that differ by one part in the number of pixels).
    growth = torch.where(ranked, 1 / union, intersection / (union * (union - 1)))
    # The errors' slopes, constant while their order is: put back in place, so that the graph need not keep the order.
    slopes = torch.empty_like(growth).scatter_(0, order, growth)
    return (errors * slopes).sum()
