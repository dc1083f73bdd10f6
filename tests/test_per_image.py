"""Confusion matrices per image: content, order, and the file."""

from pathlib import Path

import numpy as np
import pytest
import torch

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.per_image import ImageMatrices

NAMES = ("road", "voitùre", "sky")
MATRICES = {
    "b": np.array([[5, 1, 0], [0, 0, 0], [2, 0, 2**40 + 1]]),
    "frankfurt/a": np.array([[0, 0, 0], [0, 7, 3], [0, 0, 0]]),
    "a": np.zeros((3, 3), np.int64),
}


def collect(*names: str) -> ImageMatrices:
    images = ImageMatrices(NAMES)
    for name in names:
        images.add(name, torch.from_numpy(MATRICES[name]))
    return images


def arrays(images: ImageMatrices) -> list[np.ndarray]:
    return [
        np.array(images.names),
        images.total(),
        images.correct_pixels(),
        images.target_pixels(),
        images.predicted_pixels(),
    ]


def assert_same(first: ImageMatrices, second: ImageMatrices) -> None:
    assert first.class_names == second.class_names
    for one, other in zip(arrays(first), arrays(second), strict=True):
        np.testing.assert_array_equal(one, other)


def test_arrays_are_sorted_by_name():
    images = collect("b", "frankfurt/a", "a")
    assert images.names == ["a", "b", "frankfurt/a"]
    np.testing.assert_array_equal(images.total(), sum(MATRICES.values()))
    expected = [MATRICES[name] for name in images.names]
    np.testing.assert_array_equal(images.correct_pixels(), [matrix.diagonal() for matrix in expected])
    np.testing.assert_array_equal(images.target_pixels(), [matrix.sum(1) for matrix in expected])
    np.testing.assert_array_equal(images.predicted_pixels(), [matrix.sum(0) for matrix in expected])


def test_mean_iou_is_over_target_classes():
    images = ImageMatrices(NAMES)
    images.add("all ignored", np.zeros((3, 3), np.int64))
    images.add("one class, another predicted", np.array([[3, 1, 0], [0, 0, 0], [0, 0, 0]]))
    images.add("three classes", np.array([[5, 1, 0], [0, 2, 2], [1, 0, 0]]))
    found = images.mean_iou()
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [np.nan, 3 / 4, (5 / 7 + 2 / 5 + 0) / 3], rtol=1e-15)
    assert collect().mean_iou().shape == (0,)


def test_merge_order_does_not_matter():
    whole = collect("a", "b", "frankfurt/a")
    for parts in ([("b",), ("a", "frankfurt/a")], [("frankfurt/a", "a"), (), ("b",)]):
        merged = collect()
        for part in parts:
            merged.merge(collect(*part))
        assert_same(merged, whole)


def test_duplicate_name_is_refused():
    with pytest.raises(UserError, match="'b'"):
        collect("b", "b")
    with pytest.raises(UserError, match="'a'"):
        collect("a").merge(collect("b", "a"))


def test_file_restores_counts_and_names(tmp_path: Path):
    path = tmp_path / "new" / "per_image.npz"
    for images in (collect("b", "frankfurt/a", "a"), collect()):
        images.save(path)
        assert_same(ImageMatrices.load(path), images)
    assert [file.name for file in path.parent.iterdir()] == ["per_image.npz"]


def test_file_is_plain_numpy_arrays(tmp_path: Path):
    collect("b", "frankfurt/a").save(tmp_path / "per_image.npz")
    with np.load(tmp_path / "per_image.npz", allow_pickle=False) as file:
        matrices = np.zeros((2, 3, 3), np.int64)
        matrices[file["image"], file["true"], file["predicted"]] = file["pixels"]
        assert file["names"].tolist() == ["b", "frankfurt/a"]
        assert file["class_names"].tolist() == list(NAMES)
    np.testing.assert_array_equal(matrices, [MATRICES["b"], MATRICES["frankfurt/a"]])


def test_file_of_2000_images_is_small(tmp_path: Path):
    rng = np.random.default_rng(0)
    images = ImageMatrices([f"class {index}" for index in range(150)])
    for index in range(2000):
        present = rng.choice(150, 10, replace=False)
        matrix = np.zeros((150, 150), np.int64)
        matrix[np.ix_(present, present)] = rng.integers(0, 5000, (10, 10))
        images.add(f"ADE_val_{index:08d}", matrix)
    images.save(tmp_path / "per_image.npz")
    assert (tmp_path / "per_image.npz").stat().st_size < 2_000_000


def test_unusable_file_is_refused(tmp_path: Path):
    path = tmp_path / "per_image.npz"
    with pytest.raises(UserError, match=r"per_image\.npz: no such file.*validate"):
        ImageMatrices.load(path)
    path.write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(UserError, match="cannot read per-image confusion matrices"):
        ImageMatrices.load(path)
    np.savez_compressed(path, names=np.array(["a"]))
    with pytest.raises(UserError, match="class_names"):
        ImageMatrices.load(path)
    np.savez_compressed(path, class_names=np.array([{"an": "object"}], dtype=object))
    with pytest.raises(UserError, match="pickle"):
        ImageMatrices.load(path)


@pytest.mark.parametrize(("key", "value"), [("image", 1), ("true", 3), ("predicted", -1), ("pixels", -5)])
def test_invalid_numbers_are_refused(tmp_path: Path, key: str, value: int):
    path = tmp_path / "per_image.npz"
    content = {name: np.array([0]) for name in ("image", "true", "predicted", "pixels")} | {key: np.array([value])}
    np.savez_compressed(path, class_names=np.array(NAMES), names=np.array(["a"]), **content)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="without a name"):
        ImageMatrices.load(path)


def test_truncated_file_is_refused(tmp_path: Path):
    path = tmp_path / "per_image.npz"
    collect("b", "a").save(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match="cannot read per-image confusion matrices"):
        ImageMatrices.load(path)
