"""Properties of inference in windows: where windows are, and that they leave no trace in what they predict."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation import Inference
from refinenet_pl.evaluation.windows import split_axis

LENGTHS = st.integers(1, 200)
SIDES = st.integers(1, 40)
SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def windows(draw: st.DrawFn, sides: st.SearchStrategy[int]) -> tuple[tuple[int, int], tuple[int, int] | None]:
    """The size and the stride of windows; the stride is at most the size."""
    size = draw(sides), draw(sides)
    stride = draw(st.none() | st.tuples(*(st.integers(1, side) for side in size)))
    return size, stride


@given(LENGTHS, LENGTHS, LENGTHS, st.data())
def test_windows_cover_every_pixel_and_stay_inside(resized, length, side, data):
    stride = data.draw(st.integers(1, side))
    found = split_axis(resized, length, side, stride, torch.device("cpu"))
    assert all(w.window.start >= 0 and w.window.stop <= resized for w in found)
    assert {w.window.stop - w.window.start for w in found} == {min(side, resized)}
    assert (found[0].window.start, found[-1].window.stop) == (0, resized)
    for before, after in itertools.pairwise(found):
        assert before.window.start < after.window.start
        assert before.window.stop - after.window.start >= side - stride
    assert len(found) == 1 or len(found) <= 1 + np.ceil((resized - side) / stride)
    # Pixels of the image, by their centers; integers, because centers can be on the edge of a window.
    doubled = (2 * np.arange(length) + 1) * resized
    weights = np.zeros(length)
    for w in found:
        inside = (2 * w.window.start * length <= doubled) & (doubled < 2 * w.window.stop * length)
        assert np.flatnonzero(inside).tolist() == list(range(length))[w.pixels]
        position = (doubled[inside] / (2 * length) - w.window.start) / min(side, resized)
        np.testing.assert_allclose(w.position, position, atol=1e-12)
        weights[w.pixels] += w.weight.numpy()
    np.testing.assert_allclose(weights, 1, rtol=1e-6)


class Pointwise(nn.Module):
    """Logits that depend on each pixel alone, at the size of the image."""

    def __init__(self, classes: int, seed: int) -> None:
        super().__init__()
        self.weight = torch.randn(classes, 3, generator=torch.Generator().manual_seed(seed))
        self.largest = (0, 0)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        self.largest = max(self.largest[0], height), max(self.largest[1], width)
        return torch.einsum("cd,ndhw->nchw", self.weight, images)


def softmax(network: Pointwise, image: Tensor) -> np.ndarray:
    logits = np.einsum("cd,dhw->chw", network.weight.double().numpy(), image.double().numpy())
    exponential = np.exp(logits - logits.max(0))
    return exponential / exponential.sum(0)


@given(st.tuples(SIDES, SIDES), windows(SIDES), st.integers(1, 5), st.booleans(), st.integers(2, 5), SEEDS)
def test_tiles_of_a_pointwise_network_equal_the_whole(size, window, batch, flip, classes, seed):
    network = Pointwise(classes, seed)
    image = torch.randn(3, *size, generator=torch.Generator().manual_seed(seed))
    inference = Inference(flip=flip, window=window[0], stride=window[1], windows_per_batch=batch)
    expected = softmax(network, image)
    found = inference.probabilities(network, image[None])[0]
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert network.largest == tuple(min(sides) for sides in zip(size, window[0], strict=True))
    prediction = inference.predict(network, image[None])[0]
    assert (prediction.dtype, tuple(prediction.shape)) == (torch.uint8, size)
    chosen = np.take_along_axis(expected, prediction.numpy().astype(int)[None], axis=0)[0]
    np.testing.assert_allclose(chosen, expected.max(0), atol=1e-5)


@given(
    st.tuples(SIDES, SIDES),
    st.lists(st.floats(0.1, 3), min_size=1, max_size=3),
    st.none() | windows(st.integers(5, 60)),
    st.booleans(),
    SEEDS,
)
def test_any_views_of_one_color_are_the_color(size, scales, window, flip, seed):
    network = Pointwise(4, seed)
    color = torch.randn(3, 1, 1, generator=torch.Generator().manual_seed(seed))
    side, stride = window or (None, None)
    inference = Inference(tuple(scales), flip, side, stride)
    found = inference.probabilities(network, color.expand(3, *size).contiguous()[None])[0]
    np.testing.assert_allclose(found, np.broadcast_to(softmax(network, color), (4, *size)), atol=1e-5)


@given(windows(st.integers(1, 50)), st.sampled_from([0, 1]), st.integers(1, 50))
def test_strides_beyond_the_window_are_refused(window, axis, more):
    size, stride = window[0], list(window[1] or window[0])
    Inference(window=size, stride=(stride[0], stride[1]))
    stride[axis] = size[axis] + more
    with pytest.raises(UserError, match=r"inference\.stride"):
        Inference(window=size, stride=(stride[0], stride[1]))
