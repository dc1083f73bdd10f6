"""Training augmentation: geometry, padding, and randomness."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.fake_data import blocks
from PIL import Image
from torchvision import tv_tensors

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.data.transforms import IMAGENET_MEAN_COLOR, RandomScaleCrop, resize_mask, training_transform
from refinenet_pl.errors import UserError
from refinenet_pl.networks.encoders import IMAGENET_MEAN
from refinenet_pl.preprocessing import Normalize, Preprocessing


def sample_of(labels):
    """A sample whose image shows its labels: ten times the label, in all three channels."""
    mask = torch.from_numpy(labels.copy())
    return {"image": tv_tensors.Image((10 * mask).repeat(3, 1, 1)), "mask": tv_tensors.Mask(mask), "name": "a"}


def away_from_borders(mask, distance=3):
    """Mask of the pixels whose neighbors within `distance` all have the same label."""
    values = torch.nn.functional.pad(mask[None, None].float(), [distance] * 4, mode="replicate")
    highest = torch.nn.functional.max_pool2d(values, 2 * distance + 1, 1)
    return (highest == -torch.nn.functional.max_pool2d(-values, 2 * distance + 1, 1))[0, 0]


@pytest.mark.parametrize("size", [(1, 1), (7, 150), (65, 97), (96, 96), (301, 200)])
def test_crop_size_for_any_input(size):
    transform = training_transform((96, 64), (0.5, 2.0), None, flip=True, color_jitter=0.3)
    for seed in range(10):
        torch.manual_seed(seed)
        result = transform(sample_of(blocks(size, range(5), seed)))
        assert result["image"].shape == (3, 96, 64)
        assert result["mask"].shape == (96, 64)
        assert result["image"].dtype == result["mask"].dtype == torch.uint8
        assert result["name"] == "a"


def test_image_and_mask_stay_aligned():
    transform = training_transform((96, 96), (0.5, 2.0), None, flip=True, color_jitter=0.0)
    for seed in range(30):
        torch.manual_seed(seed)
        result = transform(sample_of(blocks((120, 150), range(12), seed, block=30)))
        mask, shown = result["mask"], result["image"][0]
        inside = away_from_borders(mask) & (mask != IGNORE_INDEX)
        assert inside.float().mean() > 0.1
        assert torch.equal(shown[inside], 10 * mask[inside])


def test_padding_is_ignored_in_mask():
    transform = RandomScaleCrop((90, 90), (0.4, 1.2), None)
    padded = 0
    for seed in range(30):
        torch.manual_seed(seed)
        result = transform(sample_of(blocks((70, 110), range(9), seed)))  # 0..80 is never the mean color
        mean = (result["image"] == torch.tensor(IMAGENET_MEAN_COLOR)[:, None, None]).all(0)
        assert torch.equal(mean, result["mask"] == IGNORE_INDEX)
        padded += mean.any().item()
    assert padded > 15


@pytest.mark.parametrize("mean", [None, (0.5, 0.5, 0.5), (0.1, 0.9, 0.3)])
def test_padding_is_zero_once_normalized(mean):
    pad_color = None if mean is None else tuple(round(255 * channel) for channel in mean)
    result = RandomScaleCrop(64, (0.5, 0.5), None, pad_color)(sample_of(blocks((40, 60), range(9), seed=0)))
    padding = result["mask"] == IGNORE_INDEX
    assert padding.sum() == 64 * 64 - 20 * 30
    normalized = Normalize(Preprocessing(mean or IMAGENET_MEAN))(result["image"][None].float())[0]
    assert normalized[:, padding].abs().max() <= 0.501 / 255  # half a gray level, from rounding


def test_one_number_makes_a_square_crop():
    assert RandomScaleCrop(32, (1.0, 1.0))(sample_of(blocks((40, 60), range(9), seed=0)))["mask"].shape == (32, 32)


def test_small_image_is_placed_anywhere():
    transform = RandomScaleCrop((40, 40), (1.0, 1.0), None)
    labels = blocks((20, 30), range(9), seed=0)
    corners = set()
    for seed in range(300):
        torch.manual_seed(seed)
        mask = transform(sample_of(labels))["mask"]
        rows, columns = torch.nonzero(mask != IGNORE_INDEX, as_tuple=True)
        assert np.array_equal(mask[rows[0] : rows[0] + 20, columns[0] : columns[0] + 30], labels)
        corners.add((rows[0].item(), columns[0].item()))
    assert {row for row, _ in corners} == set(range(21))
    assert {column for _, column in corners} == set(range(11))


def test_window_reaches_all_edges():
    labels = np.arange(12, dtype=np.uint8)[None].repeat(12, 0)
    transform = RandomScaleCrop((12, 4), (1.0, 1.0), None)
    lefts = {transform(sample_of(labels))["mask"][0, 0].item() for _ in range(200)}
    assert lefts == set(range(9))


def test_downscaling_does_not_shift():
    # One third of a ramp 0, 1, 2, ...: the center of output pixel i is input pixel 3 i + 1, for both.
    ramp = torch.arange(90, dtype=torch.uint8).repeat(90, 1)
    sample = {"image": tv_tensors.Image(ramp.repeat(3, 1, 1)), "mask": tv_tensors.Mask(ramp)}
    result = RandomScaleCrop((30, 30), (1 / 3, 1 / 3), None)(sample)
    expected = (3 * torch.arange(30) + 1).to(torch.uint8).repeat(30, 1)
    assert torch.equal(result["mask"], expected)
    assert torch.equal(result["image"][:, :, 1:-1], expected[:, 1:-1].repeat(3, 1, 1))


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_crop_then_resize_is_equivalent(scale):
    y, x = np.mgrid[:200, :240]
    smooth = (127 + 60 * np.sin(x / 25) + 60 * np.cos(y / 30)).round().astype(np.uint8)
    transform = RandomScaleCrop((64, 80), (scale, scale), None)
    image = tv_tensors.Image(torch.from_numpy(smooth).repeat(3, 1, 1))
    draws = (transform.make_params([image]) for _ in range(1000))
    # Windows that start on a whole pixel of the scaled image.
    params = next(p for p in draws if (p["rows"].start * scale).is_integer() and (p["columns"].start * scale) % 1 == 0)
    cropped = transform.transform(image, params)[0].int().numpy()

    whole = Image.fromarray(smooth).resize((int(240 * scale), int(200 * scale)), Image.Resampling.BILINEAR)
    top, left = int(params["rows"].start * scale), int(params["columns"].start * scale)
    expected = np.asarray(whole, dtype=int)[top : top + 64, left : left + 80]
    assert np.abs(cropped - expected).max() <= 2
    assert np.abs(cropped - expected)[1:-1, 1:-1].max() <= 1


def test_scale_is_uniform():
    transform = RandomScaleCrop((5000, 5000), (0.5, 2.0), None)
    image = tv_tensors.Image(torch.zeros(3, 1000, 10, dtype=torch.uint8))
    torch.manual_seed(0)
    scales = np.array([transform.make_params([image])["rows"].resized / 1000 for _ in range(2000)])
    assert 0.5 <= scales.min() < 0.51
    assert 1.99 < scales.max() <= 2.0
    # The mean of 2000 uniform draws has a standard deviation of 0.01, their variance one of 0.0038.
    assert scales.mean() == pytest.approx(1.25, abs=0.04)
    assert scales.var() == pytest.approx(1.5**2 / 12, abs=0.015)


def test_short_side_stays_in_bounds():
    transform = RandomScaleCrop((5000, 5000), (0.5, 2.0), (350, 600))
    image = tv_tensors.Image(torch.zeros(3, 400, 500, dtype=torch.uint8))
    sizes = [transform.make_params([image])["rows"].resized for _ in range(300)]
    assert min(sizes) == 350
    assert max(sizes) == 600
    assert 400 in range(min(sizes), max(sizes))


def test_short_side_overrides_scale_range():
    transform = RandomScaleCrop((5000, 5000), (0.5, 2.0), (350, 1100))
    image = tv_tensors.Image(torch.zeros(3, 20, 60, dtype=torch.uint8))
    params = transform.make_params([image])
    assert (params["rows"].resized, params["columns"].resized) == (350, 1050)


def test_half_of_samples_are_flipped():
    transform = training_transform((8, 8), (1.0, 1.0), None, flip=True, color_jitter=0.0)
    labels = np.arange(8, dtype=np.uint8)[None].repeat(8, 0)
    torch.manual_seed(0)
    results = [transform(sample_of(labels)) for _ in range(400)]
    assert all(torch.equal(result["image"][0], 10 * result["mask"]) for result in results)
    assert 150 < sum(result["mask"][0, 0].item() == 7 for result in results) < 250


def test_identity_at_crop_size():
    sample = sample_of(blocks((24, 32), range(9), seed=0))
    result = training_transform((24, 32), (1.0, 1.0), None, flip=False, color_jitter=0.0)(sample)
    assert torch.equal(result["image"], sample["image"])
    assert torch.equal(result["mask"], sample["mask"])


def test_color_jitter_keeps_mask():
    sample = sample_of(blocks((24, 32), range(1, 9), seed=0))
    torch.manual_seed(0)
    result = training_transform((24, 32), (1.0, 1.0), None, flip=False, color_jitter=0.5)(sample)
    assert not torch.equal(result["image"], sample["image"])
    assert torch.equal(result["mask"], sample["mask"])


def test_seed_repeats_augmentation():
    transform = training_transform((32, 32), (0.5, 2.0), None, flip=True, color_jitter=0.3)
    sample = sample_of(blocks((50, 60), range(9), seed=0))
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(transform(sample))
    assert torch.equal(results[0]["image"], results[1]["image"])
    assert torch.equal(results[0]["mask"], results[1]["mask"])
    assert not torch.equal(results[0]["image"], results[2]["image"])


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (((32, 32), (2.0, 0.5), None), "scale_range"),
        (((32, 32), (0.0, 1.0), None), "scale_range"),
        (((32, 32), (0.5, 2.0), (600, 400)), "short_side"),
        (((0, 32), (0.5, 2.0), None), "crop_size"),
        ((0, (0.5, 2.0), None), "crop_size"),
        ((32, (0.5, 2.0), None, (0, 0, 256)), "pad_color"),
        ((32, (0.5, 2.0), None, (0, 0)), "pad_color"),
    ],
)
def test_bad_settings_are_named(arguments, key):
    with pytest.raises(UserError, match=key):
        RandomScaleCrop(*arguments)


@pytest.mark.parametrize("seed", range(20))
def test_mask_resize_equals_torch(seed: int) -> None:
    height, width, new_height, new_width = np.random.default_rng(seed).integers(1, 300, 4).tolist()
    mask = torch.randint(0, 256, (height, width), dtype=torch.uint8)
    expected = F.interpolate(mask[None, None], (new_height, new_width), mode="nearest-exact")[0, 0]
    assert torch.equal(resize_mask(mask, new_height, new_width), expected)
