"""Metrics against Cityscapes' own scripts, and against the VOC devkit's evaluation in numpy."""

import copy
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as cityscapes
from helpers.fake_data import blocks, save_gray, save_image

from refinenet_pl.data import CityscapesDataModule
from refinenet_pl.data.cityscapes import CITYSCAPES, EVALUATED_IDS
from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.evaluation import ConfusionMatrix, class_iou, mean_iou

TRAIN, BUS, MOTORCYCLE = (CITYSCAPES.names.index(name) for name in ("train", "bus", "motorcycle"))


def disturbed(target: np.ndarray, classes: Sequence[int], seed: int) -> np.ndarray:
    """A prediction that is right on three of four pixels. Ignored pixels get classes too."""
    rng = np.random.default_rng(seed)
    guessed = rng.choice(classes, target.shape).astype(np.uint8)
    return np.where((rng.random(target.shape) < 0.75) & (target != IGNORE_INDEX), target, guessed)


@pytest.fixture
def val_split(tmp_path: Path) -> Path:
    """Three images with all ids but two: train is absent, and bus is only predicted."""
    ids = [index for index in range(34) if index not in (EVALUATED_IDS[TRAIN], EVALUATED_IDS[BUS])]
    for seed in range(3):
        stem = f"frankfurt_000000_{seed:06d}"
        labels = blocks((64, 128), ids, seed, block=5)
        save_image(tmp_path / "leftImg8bit" / "val" / "frankfurt" / f"{stem}_leftImg8bit.png", labels)
        save_gray(tmp_path / "gtFine" / "val" / "frankfurt" / f"{stem}_gtFine_labelIds.png", labels)
    return tmp_path


def test_metrics_equal_cityscapes_scripts(val_split: Path):
    ours, targets, predictions = ConfusionMatrix(len(CITYSCAPES)), [], []
    dataset = CityscapesDataModule(val_split).dataset("val")
    classes = [index for index in range(len(CITYSCAPES)) if index != TRAIN]
    for index, sample in enumerate(dataset.samples):
        target = dataset[index]["mask"]
        prediction = disturbed(target.numpy(), classes, seed=index)
        ours.update(torch.from_numpy(prediction), target)
        targets.append(str(sample.mask))
        predictions.append(str(val_split / "predictions" / f"{index}.png"))
        save_gray(Path(predictions[-1]), np.array(EVALUATED_IDS, np.uint8)[prediction])

    options = copy.copy(cityscapes.args)
    options.evalInstLevelScore = options.JSONOutput = False
    options.quiet = True
    theirs = cityscapes.evaluateImgLists(predictions, targets, options)

    matrix = ours.compute()
    assert mean_iou(matrix) == pytest.approx(theirs["averageScoreClasses"], abs=1e-12)
    expected = [theirs["classScores"][name] for name in CITYSCAPES.names]
    np.testing.assert_allclose(class_iou(matrix), expected, rtol=0, atol=1e-12)
    assert math.isnan(expected[TRAIN])
    assert expected[BUS] == 0 < expected[MOTORCYCLE]


def voc_devkit(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[list[float], float]:
    """IoU in percent of 21 classes, and their mean, from a joint histogram of target and result as in VOCevalseg.m."""
    number = 21
    counts = np.zeros(number**2)
    for result, target in pairs:
        counted = target < 255
        joint = 1 + target[counted].astype(float) + number * result[counted].astype(float)
        counts += np.histogram(joint, bins=np.arange(1, number**2 + 2))[0]
    table = counts.reshape(number, number).T  # MATLAB fills columns first
    accuracies = []
    for j in range(number):
        in_target, in_result, correct = table[j].sum(), table[:, j].sum(), table[j, j]
        union = in_target + in_result - correct
        accuracies.append(100 * correct / union if union else math.nan)
    return accuracies, sum(accuracies) / number


@pytest.mark.parametrize("absent", [(), (7,)], ids=["all classes", "no car"])
def test_voc_convention_equals_devkit(absent: tuple[int, ...]):
    classes = [index for index in range(21) if index not in absent]
    ours, pairs = ConfusionMatrix(21), []
    for seed, size in enumerate([(90, 120), (101, 77), (64, 64)]):
        target = blocks(size, [*classes, IGNORE_INDEX], seed, block=6)
        pairs.append((disturbed(target, classes, seed), target))
        ours.update(*map(torch.from_numpy, pairs[-1]))
    accuracies, average = voc_devkit(pairs)
    np.testing.assert_allclose(100 * class_iou(ours.compute()), accuracies, rtol=1e-13)
    assert 100 * mean_iou(ours.compute(), "voc") == pytest.approx(average, rel=1e-13, nan_ok=True)
    assert math.isnan(average) == bool(absent)
