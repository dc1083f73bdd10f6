"""Weights in the published layouts, images, and summaries of logits, all drawn from seeds.

`published_vectors.json` holds the summaries that the published implementations gave in float64. For the networks with a
ResNet these are `refinenet` 0.9.5 on PyPI, for MobileNet-v2 `DrSleep/light-weight-refinenet`. The drawing functions
avoid operations whose last bit depends on the platform.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from refinenet_pl.networks import LightWeightRefineNet, RefineNet
from refinenet_pl.weights import layouts
from refinenet_pl.weights.published import published_keys

RECORDED = json.loads((Path(__file__).parent / "published_vectors.json").read_text())
Shapes = Mapping[str, tuple[int, ...]]
LAYOUTS: dict[str, Callable[[], layouts.Pairs]] = {
    "refinenet": layouts.refinenet,
    "lightweight": layouts.lightweight_resnet,
    "mobilenet": layouts.lightweight_mobilenet,
}


def published_shapes(layout: str, encoder: str, classes: int = 21) -> Shapes:
    """Return the keys of a published file and the shapes of their tensors."""
    network = RefineNet if layout == "refinenet" else LightWeightRefineNet
    options = {"expand_first": True} if layout == "mobilenet" else {}
    with torch.device("meta"):
        state = network(encoder, encoder_weights=None, classes=classes, **options).state_dict()
    return {key: tuple(state[ours].shape) for key, ours in published_keys(LAYOUTS[layout](), state).items()}


def digest(shapes: Shapes) -> str:
    """Return the SHA-256 of the sorted lines "key shape"."""
    lines = "\n".join(f"{key} {list(shapes[key])}" for key in sorted(shapes))
    return hashlib.sha256(lines.encode()).hexdigest()


def draw(shapes: Shapes, seed: int) -> dict[str, Tensor]:
    """Draw float32 weights and batch-norm statistics that give logits of order one."""
    random = np.random.RandomState(seed)
    return {key: torch.from_numpy(draw_tensor(random, key, shapes[key])) for key in sorted(shapes)}


def draw_tensor(random: np.random.RandomState, key: str, shape: tuple[int, ...]) -> np.ndarray:
    if key.endswith("num_batches_tracked"):
        return np.array(1000)
    low, high = -0.1, 0.1  # biases and means
    if len(shape) == 4:
        high = (1.2 / np.prod(shape[1:])) ** 0.5
        low = -high
    elif key.endswith(("weight", "running_var")):
        low, high = 0.5, 1.5
    return (low + (high - low) * random.random_sample(shape)).astype(np.float32)


def image(size: tuple[int, int]) -> Tensor:
    """Draw a normalized image, float64 [1, 3, H, W]."""
    return torch.from_numpy(4 * np.random.RandomState(7).random_sample((1, 3, *size)) - 2)


def summarize(logits: Tensor) -> dict[str, list]:
    """Return the shape of logits, their projections onto eight drawn vectors, and 24 single values."""
    flat = logits.numpy().ravel()
    random = np.random.RandomState(8)
    vectors = 2 * random.random_sample((8, flat.size)) - 1
    places = random.randint(0, flat.size, 24)
    projections = [float(np.dot(vector, flat)) for vector in vectors]
    return {"shape": list(logits.shape), "projections": projections, "values": flat[places].tolist()}


def logits_at_stride_4(network: nn.Module, size: tuple[int, int]) -> Tensor:
    """Return a network's logits of `image(size)` in evaluation mode and float64."""
    with torch.no_grad():
        return network.double().eval().forward_logits(image(size))  # type: ignore[operator]
