"""Properties of the metrics, against counts of pixels in numpy and masks that scipy erodes."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.evaluation import ConfusionMatrix
from refinenet_pl.evaluation.boundary import BoundaryIoU, TrimapIoU
from refinenet_pl.evaluation.metrics import (
    CONVENTIONS,
    class_iou,
    f1,
    frequency_weighted_iou,
    mean_accuracy,
    mean_iou,
    pixel_accuracy,
    precision,
    recall,
)
from refinenet_pl.evaluation.per_image import ImageMatrices

NAMES = st.lists(st.text("ab é.-", min_size=1).filter(lambda part: ".." not in part), min_size=1).map("/".join)


class Images(NamedTuple):
    """Predictions and targets of some images. Where the target is ignored, the prediction may be of no class."""

    classes: int
    pairs: list[tuple[np.ndarray, np.ndarray]]


@st.composite
def images(draw: st.DrawFn) -> Images:
    classes = draw(st.integers(2, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ignored, wrong = draw(st.floats(0, 1)), draw(st.floats(0, 1))
    present = rng.permutation(classes)[: draw(st.integers(1, classes))]
    pairs = []
    for size in draw(st.lists(st.tuples(st.integers(1, 24), st.integers(1, 24)), min_size=1, max_size=5)):
        coarse = rng.choice(present, (size[0] // 4 + 1, size[1] // 4 + 1))
        target = np.kron(coarse, np.ones((4, 4), int))[: size[0], : size[1]].astype(np.uint8)
        prediction = np.where(rng.random(size) < wrong, rng.integers(0, classes, size), target).astype(np.uint8)
        outside = rng.random(size) < ignored * rng.random()
        target[outside] = IGNORE_INDEX
        prediction[outside] = rng.integers(0, 255, outside.sum())
        pairs.append((prediction, target))
    return Images(classes, pairs)


def counted(given_images: Images) -> np.ndarray:
    """The confusion matrix by numpy's bincount; rows are the target."""
    prediction, target = (np.concatenate([pair[side].ravel() for pair in given_images.pairs]) for side in (0, 1))
    kept = target != IGNORE_INDEX
    pairs = target[kept].astype(int) * given_images.classes + prediction[kept]
    return np.bincount(pairs, minlength=given_images.classes**2).reshape(given_images.classes, -1)


def updated(metric, pairs, dtype=torch.uint8):
    for prediction, target in pairs:
        metric.update(torch.from_numpy(prediction).to(dtype), torch.from_numpy(target).to(dtype))
    return metric


@given(images(), st.sampled_from([torch.uint8, torch.int16, torch.int64]), st.data())
def test_confusion_is_the_count_however_it_is_split(drawn, dtype, data):
    expected = counted(drawn)
    ranks: list[list[tuple[np.ndarray, np.ndarray]]] = [[], [], []]
    for prediction, target in data.draw(st.permutations(drawn.pairs)):
        cut = data.draw(st.integers(0, len(target)))
        ranks[data.draw(st.integers(0, 2))] += [(prediction[:cut], target[:cut]), (prediction[cut:], target[cut:])]
    parts = [updated(ConfusionMatrix(drawn.classes), pairs, dtype).compute() for pairs in ranks]
    np.testing.assert_array_equal(sum(parts), expected)
    metrics = [updated(ConfusionMatrix(drawn.classes), pairs, dtype) for pairs in ranks]
    first, *others = data.draw(st.permutations(metrics))
    for other in others:
        first.merge_state(other)
    np.testing.assert_array_equal(first.compute(), expected)


@given(images())
def test_ratios_are_those_of_sets_of_pixels(drawn):
    matrix = torch.from_numpy(counted(drawn))
    kept = [(prediction[target != 255], target[target != 255]) for prediction, target in drawn.pairs]
    predicted, true = (np.concatenate([pair[side] for pair in kept]) for side in (0, 1))
    with np.errstate(invalid="ignore"):
        for index in range(drawn.classes):
            a, b = predicted == index, true == index
            both = np.float64((a & b).sum())
            expected = [both / (a | b).sum(), 2 * both / (a.sum() + b.sum()), both / a.sum(), both / b.sum()]
            found = [metric(matrix)[index].item() for metric in (class_iou, f1, precision, recall)]
            np.testing.assert_allclose(found, expected, rtol=1e-14)
            assert all(np.isnan(value) or 0 <= value <= 1 for value in found)
    right = np.nan if len(true) == 0 else (predicted == true).mean()
    np.testing.assert_allclose(pixel_accuracy(matrix), right, rtol=1e-14)


@given(images())
def test_means_are_those_of_their_conventions(drawn):
    matrix = torch.from_numpy(counted(drawn))
    per_class, weights = class_iou(matrix).numpy(), matrix.sum(1).numpy()
    union, target = weights + matrix.sum(0).numpy() > 0, weights > 0
    expected = {
        "cityscapes": per_class[union].mean() if union.any() else np.nan,
        "voc": per_class.mean() if union.all() else np.nan,
        "matlab": per_class[target].mean() if target.any() else np.nan,
        "absent_as_zero": per_class[union].sum() / drawn.classes,
    }
    assert {*expected} == {*CONVENTIONS}
    for convention in CONVENTIONS:
        np.testing.assert_allclose(mean_iou(matrix, convention), expected[convention], rtol=1e-14)
    weighted = np.average(per_class[target], weights=weights[target]) if target.any() else np.nan
    np.testing.assert_allclose(frequency_weighted_iou(matrix), weighted, rtol=1e-13)
    shares = matrix.diagonal().numpy()[target] / weights[target]
    np.testing.assert_allclose(mean_accuracy(matrix), shares.mean() if target.any() else np.nan, rtol=1e-14)


@given(images(), st.data())
def test_names_of_classes_do_not_matter(drawn, data):
    order = np.array(data.draw(st.permutations(range(drawn.classes))))
    table = np.arange(256, dtype=np.uint8)
    table[: drawn.classes] = order
    pairs = [(table[prediction], table[target]) for prediction, target in drawn.pairs]
    found = updated(ConfusionMatrix(drawn.classes), pairs).compute()
    np.testing.assert_array_equal(found.numpy()[np.ix_(order, order)], counted(drawn))
    for convention in CONVENTIONS:
        before = mean_iou(torch.from_numpy(counted(drawn)), convention)
        np.testing.assert_allclose(mean_iou(found, convention), before, rtol=1e-13)
    boundary = [updated(BoundaryIoU(drawn.classes, width=0.1), some).compute() for some in (pairs, drawn.pairs)]
    np.testing.assert_array_equal(boundary[0].numpy()[order], boundary[1])


@given(images(), st.data())
def test_matrices_of_images_add_up_in_any_order_and_from_the_file(drawn, data):
    names = data.draw(st.lists(NAMES, min_size=len(drawn.pairs), max_size=len(drawn.pairs), unique=True))
    matrices = {name: counted(drawn._replace(pairs=[pair])) for name, pair in zip(names, drawn.pairs, strict=True)}
    classes = [f"class {index}" for index in range(drawn.classes)]
    parts = [ImageMatrices(classes), ImageMatrices(classes)]
    for name in data.draw(st.permutations(names)):
        parts[data.draw(st.integers(0, 1))].add(name, matrices[name])
    parts[0].merge(parts[1])
    with tempfile.TemporaryDirectory() as folder:
        parts[0].save(Path(folder, "per_image.npz"))
        loaded = ImageMatrices.load(Path(folder, "per_image.npz"))
    for found in (parts[0], loaded):
        assert found.names == sorted(names)
        np.testing.assert_array_equal(found.total(), counted(drawn))
        np.testing.assert_array_equal(found.target_pixels(), [matrices[name].sum(1) for name in sorted(names)])
        np.testing.assert_array_equal(found.predicted_pixels(), [matrices[name].sum(0) for name in sorted(names)])
        expected = [mean_iou(torch.from_numpy(matrices[name]), "matlab") for name in sorted(names)]
        np.testing.assert_allclose(found.mean_iou(), expected, rtol=1e-14)


@given(images(), st.floats(0.001, 0.5), st.integers(0, 2**32 - 1))
def test_boundary_iou_is_that_of_eroded_masks(drawn, width, seed):
    counts = np.zeros((2, drawn.classes))
    for prediction, target in drawn.pairs:
        steps = max(1, round(width * np.hypot(*target.shape)))
        for index in range(drawn.classes):
            masks = [(prediction == index) & (target != IGNORE_INDEX), target == index]
            first, second = (mask & ~binary_erosion(mask, np.ones((3, 3)), steps, border_value=0) for mask in masks)
            counts[:, index] += (first & second).sum(), (first | second).sum()
    with np.errstate(invalid="ignore"):
        expected = counts[0] / counts[1]
    found = updated(BoundaryIoU(drawn.classes, width=width), drawn.pairs).compute()
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    # What is predicted where the target is ignored does not count.
    rng = np.random.default_rng(seed)
    other = [(np.where(t == IGNORE_INDEX, rng.integers(0, drawn.classes, t.shape), p), t) for p, t in drawn.pairs]
    np.testing.assert_array_equal(updated(BoundaryIoU(drawn.classes, width=width), other).compute(), found)


@given(images(), st.data())
def test_boundary_metrics_of_equal_and_of_exchanged_masks(drawn, data):
    classes = drawn.classes
    perfect = [(np.where(target == IGNORE_INDEX, 0, target), target) for _, target in drawn.pairs]
    for metric in (BoundaryIoU(classes), TrimapIoU(classes)):
        found = updated(metric, perfect).compute()
        assert ((found == 1) | found.isnan()).all()
        parts = [type(metric)(classes), type(metric)(classes)]
        for pair in data.draw(st.permutations(drawn.pairs)):
            updated(parts[data.draw(st.integers(0, 1))], [pair])
        parts[0].merge_state(parts[1])
        np.testing.assert_array_equal(parts[0].compute(), updated(type(metric)(classes), drawn.pairs).compute())
    present = np.isin(np.arange(classes), np.concatenate([target.ravel() for _, target in drawn.pairs]))
    np.testing.assert_array_equal(updated(BoundaryIoU(classes), perfect).compute().isnan(), ~present)
    # Without ignored pixels, prediction and target are exchangeable.
    labels = [(p % classes, t % classes) for p, t in drawn.pairs]
    first, second = (updated(BoundaryIoU(classes), some) for some in (labels, [(t, p) for p, t in labels]))
    np.testing.assert_array_equal(first.compute(), second.compute())


@given(images())
def test_wide_trimaps_are_the_plain_iou_of_mixed_images(drawn):
    mixed = [(p, t) for p, t in drawn.pairs if len(np.unique(t)) > 1]
    found = updated(TrimapIoU(drawn.classes, widths=(1, 24)), mixed).compute()[1]
    expected = (
        class_iou(torch.from_numpy(counted(Images(drawn.classes, mixed)))) if mixed else np.full(drawn.classes, np.nan)
    )
    np.testing.assert_array_equal(found, expected)
