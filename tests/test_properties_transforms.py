"""Properties of augmentation: image and mask stay aligned, padding is ignored, and a sample's draw repeats."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.fake_data import blocks, save_gray, save_image
from hypothesis import given
from hypothesis import strategies as st
from torchvision import tv_tensors

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.data.dataset import Sample, SegmentationDataset
from refinenet_pl.data.randomness import Draw
from refinenet_pl.data.transforms import RandomScaleCrop, training_transform

SIDES = st.integers(1, 40)
SIZES = st.tuples(SIDES, SIDES)
SEEDS = st.integers(0, 2**64 - 1)
SCALES = st.tuples(st.floats(0.2, 4), st.floats(0.2, 4)).map(lambda pair: (min(pair), max(pair)))
SHORT_SIDES = st.none() | st.tuples(SIDES, SIDES).map(lambda pair: (min(pair), max(pair)))
WHITE = (255, 255, 255)


def as_read(image: torch.Tensor) -> tv_tensors.Image:
    """An image [3, H, W] from [H, W, 3], in the memory order in which files are read."""
    return tv_tensors.Image(image.movedim(-1, 0))


def coordinates(size: tuple[int, int]) -> dict[str, Any]:
    """A sample that shows where each pixel is: the row is in red and in the mask, the column in green; blue is 0."""
    rows, columns = (torch.from_numpy(axis).to(torch.uint8) for axis in np.indices(size))
    image = torch.stack([rows, columns, torch.zeros_like(rows)], dim=-1)
    return {"image": as_read(image), "mask": tv_tensors.Mask(rows.clone()), "name": "a"}


@given(SIZES, SIZES, SCALES, SHORT_SIDES, st.booleans(), st.floats(0, 1), st.lists(st.integers(0, 254)), SEEDS)
def test_sizes_types_and_classes(size, crop, scales, short_side, flip, jitter, classes, seed):
    values = np.array([*classes, IGNORE_INDEX], np.uint8)
    rng = np.random.default_rng(seed)
    mask = torch.from_numpy(rng.choice(values, size))
    image = torch.from_numpy(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
    sample = {"image": as_read(image), "mask": tv_tensors.Mask(mask), "name": "a"}
    torch.manual_seed(seed)
    result = training_transform(crop, scales, short_side, flip, jitter)(sample)
    assert {key: type(value) for key, value in result.items()} == {key: type(value) for key, value in sample.items()}
    assert (result["image"].shape, result["mask"].shape) == ((3, *crop), crop)
    assert result["image"].dtype == result["mask"].dtype == torch.uint8
    assert set(result["mask"].unique().tolist()) <= {*values.tolist()}


@given(SIZES, SIZES, SCALES, SHORT_SIDES, st.booleans(), SEEDS)
def test_exactly_the_padding_is_ignored(size, crop, scales, short_side, flip, seed):
    torch.manual_seed(seed)
    result = training_transform(crop, scales, short_side, flip, 0.0, pad_color=WHITE)(coordinates(size))
    ignored = result["mask"] == IGNORE_INDEX
    assert torch.equal(result["image"][2], 255 * ignored.to(torch.uint8))
    assert (result["image"][:, ignored] == 255).all()
    inside = ~ignored
    assert torch.equal(inside, inside.any(1)[:, None] & inside.any(0))
    for axis in (0, 1):
        places = torch.nonzero(inside.any(axis))[:, 0]
        assert places.tolist() == list(range(places[0], places[-1] + 1))


@given(SIZES, SIZES, st.integers(2, 7), SEEDS)
def test_a_rule_of_each_pixel_survives_crop_flip_and_padding(size, crop, classes, seed):
    def rule(image: Any) -> torch.Tensor:
        return (image.long() * torch.tensor([3, 5, 7])[:, None, None]).sum(0) % classes

    image = as_read(torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)))
    sample = {"image": image, "mask": tv_tensors.Mask(rule(image).to(torch.uint8)), "name": "a"}
    torch.manual_seed(seed)
    result = training_transform(crop, (1.0, 1.0), None, flip=True, color_jitter=0.0)(sample)
    inside = result["mask"] != IGNORE_INDEX
    assert inside.sum() == min(size[0], crop[0]) * min(size[1], crop[1])
    assert torch.equal(result["mask"][inside].long(), rule(result["image"])[inside])


@given(SIZES, SIZES, SCALES, SHORT_SIDES, SEEDS)
def test_scaled_pixels_come_from_their_places(size, crop, scales, short_side, seed):
    transform, sample = RandomScaleCrop(crop, scales, short_side, WHITE), coordinates(size)
    torch.manual_seed(seed)
    params = transform.make_params([sample["image"]])
    result = {key: transform.transform(sample[key], params) for key in ("image", "mask")}
    low, high = (
        scale if short_side is None else min(max(scale, short_side[0] / min(size)), short_side[1] / min(size))
        for scale in scales
    )
    for axis, (name, length) in enumerate(zip(("rows", "columns"), size, strict=True)):
        crop_axis = params[name]
        assert 0 <= crop_axis.start <= crop_axis.start + crop_axis.window <= length
        assert 0 <= crop_axis.offset <= crop_axis.offset + crop_axis.resized <= crop[axis]
        # The scale of this axis is a whole number of pixels over another one: each is at most half a pixel off.
        if crop_axis.resized > 1:
            assert crop_axis.resized <= (crop_axis.window + 0.5) * high + 0.5
        if crop_axis.resized < crop[axis]:
            assert crop_axis.resized >= length * low - 0.5
        step = crop_axis.window / crop_axis.resized
        centers = crop_axis.start + (np.arange(crop_axis.resized) + 0.5) * step - 0.5
        shown = result["image"][axis].movedim(axis, 0)[crop_axis.offset :][: crop_axis.resized].numpy().astype(float)
        shown = np.where(shown == 255, np.nan, shown)  # the padding of the other axis
        found = np.nanmedian(shown, axis=1)
        # At the ends of the window, the neighbors beyond it are missing.
        away = (centers > crop_axis.start + step) & (centers < crop_axis.start + crop_axis.window - 1 - step)
        assert (np.abs(found - centers) <= np.where(away, 0.51, 0.51 + step)).all()
        if axis == 0:
            taken = np.where(result["mask"] == IGNORE_INDEX, np.nan, result["mask"])[crop_axis.offset :]
            assert (np.abs(np.nanmedian(taken[: crop_axis.resized], axis=1) - centers) <= 0.501).all()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> SegmentationDataset:
    folder = tmp_path_factory.mktemp("samples")
    samples = []
    for index in range(3):
        labels = blocks((48, 64), range(9), seed=index)
        save_image(folder / f"{index}.png", labels)
        save_gray(folder / f"{index}_labels.png", labels)
        samples.append(Sample(folder / f"{index}.png", Path(folder / f"{index}_labels.png"), str(index)))
    return SegmentationDataset(samples, 9, transform=training_transform((24, 32), (0.5, 2.0), None, True, 0.4))


@given(st.integers(0, 2), SEEDS, st.integers(0, 10_000), st.integers(0, 2**32 - 1))
def test_a_draw_repeats_and_leaves_the_generators(dataset, index, seed, epoch, other):
    def states() -> tuple[Any, ...]:
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore

    drawn = dataset[Draw(index, seed, epoch)]
    torch.manual_seed(other)
    np.random.seed(other)
    random.seed(other)
    before = states()
    again = dataset[Draw(index, seed, epoch)]
    assert states() == before
    assert torch.equal(again["image"], drawn["image"])
    assert torch.equal(again["mask"], drawn["mask"])
    others = [Draw(index, seed, epoch + 1), Draw(index, (seed + 1) % 2**64, epoch)]
    assert not any(torch.equal(dataset[draw]["image"], drawn["image"]) for draw in others)
