"""Matrices by image: what is kept, in which order, and the file."""

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


def collected(*names: str) -> ImageMatrices:
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


def test_arrays_hold_the_counts_of_the_images_in_order_of_their_names():
    images = collected("b", "frankfurt/a", "a")
    assert images.names == ["a", "b", "frankfurt/a"]
    np.testing.assert_array_equal(images.total(), sum(MATRICES.values()))
    expected = [MATRICES[name] for name in images.names]
    np.testing.assert_array_equal(images.correct_pixels(), [matrix.diagonal() for matrix in expected])
    np.testing.assert_array_equal(images.target_pixels(), [matrix.sum(1) for matrix in expected])
    np.testing.assert_array_equal(images.predicted_pixels(), [matrix.sum(0) for matrix in expected])


def test_parts_of_several_processes_merge_to_the_same_whatever_their_order():
    whole = collected("a", "b", "frankfurt/a")
    for parts in ([("b",), ("a", "frankfurt/a")], [("frankfurt/a", "a"), (), ("b",)]):
        merged = collected()
        for part in parts:
            merged.merge(collected(*part))
        assert_same(merged, whole)


def test_an_image_that_comes_twice_is_an_error_that_names_it():
    with pytest.raises(UserError, match="'b'"):
        collected("b", "b")
    with pytest.raises(UserError, match="'a'"):
        collected("a").merge(collected("b", "a"))


def test_the_file_gives_back_every_count_and_name(tmp_path: Path):
    path = tmp_path / "new" / "per_image.npz"
    for images in (collected("b", "frankfurt/a", "a"), collected()):
        images.save(path)
        assert_same(ImageMatrices.load(path), images)
    assert [file.name for file in path.parent.iterdir()] == ["per_image.npz"]


def test_the_file_is_plain_arrays_that_numpy_reads_alone(tmp_path: Path):
    collected("b", "frankfurt/a").save(tmp_path / "per_image.npz")
    with np.load(tmp_path / "per_image.npz", allow_pickle=False) as file:
        matrices = np.zeros((2, 3, 3), np.int64)
        matrices[file["image"], file["true"], file["predicted"]] = file["pixels"]
        assert file["names"].tolist() == ["b", "frankfurt/a"]
        assert file["class_names"].tolist() == list(NAMES)
    np.testing.assert_array_equal(matrices, [MATRICES["b"], MATRICES["frankfurt/a"]])


def test_two_thousand_images_of_150_classes_stay_below_two_megabytes(tmp_path: Path):
    random = np.random.default_rng(0)
    images = ImageMatrices([f"class {index}" for index in range(150)])
    for index in range(2000):
        there = random.choice(150, 10, replace=False)
        matrix = np.zeros((150, 150), np.int64)
        matrix[np.ix_(there, there)] = random.integers(0, 5000, (10, 10))
        images.add(f"ADE_val_{index:08d}", matrix)
    images.save(tmp_path / "per_image.npz")
    assert (tmp_path / "per_image.npz").stat().st_size < 2_000_000


def test_a_missing_file_and_one_that_holds_something_else_are_told_in_words(tmp_path: Path):
    path = tmp_path / "per_image.npz"
    with pytest.raises(UserError, match=r"per_image\.npz: no such file.*validate"):
        ImageMatrices.load(path)
    path.write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(UserError, match="holds no per-image matrices"):
        ImageMatrices.load(path)
    np.savez_compressed(path, names=np.array(["a"]))
    with pytest.raises(UserError, match="class_names"):
        ImageMatrices.load(path)
    np.savez_compressed(path, class_names=np.array([{"an": "object"}], dtype=object))
    with pytest.raises(UserError, match="pickle"):
        ImageMatrices.load(path)


@pytest.mark.parametrize(("key", "value"), [("image", 1), ("true", 3), ("predicted", -1), ("pixels", -5)])
def test_a_file_with_numbers_that_cannot_be_is_refused(tmp_path: Path, key: str, value: int):
    path = tmp_path / "per_image.npz"
    content = {name: np.array([0]) for name in ("image", "true", "predicted", "pixels")} | {key: np.array([value])}
    np.savez_compressed(path, class_names=np.array(NAMES), names=np.array(["a"]), **content)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="without a name"):
        ImageMatrices.load(path)


def test_a_truncated_file_is_refused(tmp_path: Path):
    path = tmp_path / "per_image.npz"
    collected("b", "a").save(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match="holds no per-image matrices"):
        ImageMatrices.load(path)
