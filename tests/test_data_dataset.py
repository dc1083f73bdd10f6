"""Reading images and label images into samples."""

import numpy as np
import pytest
import torch
from helpers.fake_data import blocks, make_camvid, save_gray, save_image, save_palette
from PIL import Image
from torchvision import tv_tensors

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.data.dataset import Sample, SegmentationDataset
from refinenet_pl.errors import UserError
from refinenet_pl.images import is_image, read_image, read_mask


@pytest.fixture
def pair(tmp_path):
    """An image and a label image with 0..3 and 255."""
    labels = blocks((20, 30), [0, 1, 2, 3, 255], seed=0)
    save_image(tmp_path / "image.png", labels)
    save_palette(tmp_path / "mask.png", labels)
    return Sample(tmp_path / "image.png", tmp_path / "mask.png", "a")


def test_sample_types_and_values(pair):
    sample = SegmentationDataset([pair], num_classes=4)[0]
    assert isinstance(sample["image"], tv_tensors.Image)
    assert isinstance(sample["mask"], tv_tensors.Mask)
    assert sample["image"].dtype == sample["mask"].dtype == torch.uint8
    assert np.array_equal(sample["image"].permute(1, 2, 0), np.asarray(Image.open(pair.image)))
    assert np.array_equal(sample["mask"], blocks((20, 30), [0, 1, 2, 3, 255], seed=0))
    assert sample["name"] == "a"


def test_label_values_become_indices(pair):
    labels = blocks((20, 30), [0, 1, 2, 3, 255], seed=0)
    mask = SegmentationDataset([pair], 2, {0: IGNORE_INDEX, 1: 1, 2: 0, 3: 1, 255: IGNORE_INDEX})[0]["mask"].numpy()
    assert set(mask[labels == 0]) == set(mask[labels == 255]) == {IGNORE_INDEX}
    assert set(mask[(labels == 1) | (labels == 3)]) == {1}
    assert set(mask[labels == 2]) == {0}


def test_unknown_label_value_is_named(pair):
    with pytest.raises(UserError, match=r"mask\.png.*not a class: 2, 3\. Expected only 0, 1, 255\."):
        SegmentationDataset([pair], num_classes=2)[0]


@pytest.mark.parametrize("value", [300, 65535])
def test_large_label_value_is_named(tmp_path, value):
    Image.fromarray(np.full((4, 4), value, np.uint16)).save(tmp_path / "mask.png")
    save_image(tmp_path / "image.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(UserError, match=f"not a class: {value}"):
        SegmentationDataset([Sample(tmp_path / "image.png", tmp_path / "mask.png", "a")], num_classes=2)[0]


def test_size_mismatch_names_both_sizes(pair):
    save_gray(pair.mask, np.zeros((21, 30), np.uint8))
    with pytest.raises(UserError, match=r"21 x 30.*20 x 30"):
        SegmentationDataset([pair], num_classes=4)[0]


def test_color_labels_are_refused(pair):
    save_image(pair.mask, np.zeros((20, 30), np.uint8))
    with pytest.raises(UserError, match="mode RGB"):
        SegmentationDataset([pair], num_classes=4)[0]


@pytest.mark.parametrize(
    "labels",
    [
        np.array([[0, 3], [2, 255]], np.uint8),
        np.array([[0, 3], [2, 255]], np.uint16),
        np.array([[0, 3], [2, 255]], np.int32),
        np.array([[False, True]]),
    ],
)
def test_masks_of_any_integer_type(tmp_path, labels):
    suffix = ".tif" if labels.dtype == np.int32 else ".png"
    Image.fromarray(labels).save(tmp_path / f"mask{suffix}")
    assert np.array_equal(read_mask(tmp_path / f"mask{suffix}"), labels)


def test_paths_may_be_strings(pair):
    assert torch.equal(read_image(str(pair.image)), read_image(pair.image))
    assert np.array_equal(read_mask(str(pair.mask)), read_mask(pair.mask))
    assert is_image(str(pair.image))


def test_mask_is_read_without_image(pair):
    pair.image.unlink()
    assert np.array_equal(SegmentationDataset([pair], num_classes=4).mask(0), blocks((20, 30), [0, 1, 2, 3, 255], 0))


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tif", "webp"])
@pytest.mark.parametrize("left", [0, 10, 0.6])
def test_damaged_image_is_named(tmp_path, suffix, left):
    path = tmp_path / f"image.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(noise).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: left if isinstance(left, int) else int(left * len(content))])
    with pytest.raises(UserError, match=rf"image\.{suffix}: cannot be read as image"):
        read_image(path)


def test_damaged_mat_file_is_named(tmp_path):
    (tmp_path / "mask.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    with pytest.raises(UserError, match=r"mask\.mat: cannot be read"):
        read_mask(tmp_path / "mask.mat")


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGB", "RGBA", "LA", "CMYK"])
def test_any_mode_becomes_rgb(tmp_path, mode):
    color = Image.new("RGB", (8, 6), (204, 204, 204))
    suffix = "tif" if mode == "CMYK" else "png"
    color.convert(mode, dither=Image.Dither.NONE).save(tmp_path / f"image.{suffix}")
    image = read_image(tmp_path / f"image.{suffix}")
    assert image.shape == (3, 6, 8)
    assert image.dtype == torch.uint8
    expected = 255 if mode == "1" else 204
    assert (image.int() - expected).abs().max() <= 3


def test_16_bit_grays_keep_range(tmp_path):
    gray = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    Image.fromarray(gray).save(tmp_path / "image.png")
    assert read_image(tmp_path / "image.png")[0].tolist() == [[0, 1, 128, 255]]


def test_float_pixels_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "image.tif")
    with pytest.raises(UserError, match="floating point"):
        read_image(tmp_path / "image.tif")


def test_upright_is_optional(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    Image.new("RGB", (8, 6)).save(tmp_path / "image.jpg", exif=exif)
    assert read_image(tmp_path / "image.jpg").shape == (3, 6, 8)
    assert read_image(tmp_path / "image.jpg", upright=True).shape == (3, 8, 6)


def test_worker_keeps_user_error(tmp_path):
    from refinenet_pl.data.camvid import CamVidDataModule

    save_gray(make_camvid(tmp_path) / "valannot" / "val_0.png", np.full((48, 64), 77, np.uint8))
    loader = CamVidDataModule(tmp_path, num_workers=1).val_dataloader()
    with pytest.raises(UserError, match="not a class: 77"):
        list(loader)
