"""`refinenet data show`: sheets of images with labels, as they are and as the network sees them in training."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from refinenet_pl.cli.data_source import add_source, load_data
from refinenet_pl.cli.parser import Parser
from refinenet_pl.data.classes import IGNORE_INDEX, Classes
from refinenet_pl.data.dataset import SegmentationDataset
from refinenet_pl.data.labels import color_code, color_text
from refinenet_pl.data.randomness import Draw
from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.pictures import colorize, overlay
from refinenet_pl.files import atomic_write
from refinenet_pl.outputs import Output, check_outputs

DESCRIPTION = """Write two sheets of samples with their labels: labels.png, the samples as they are on disk, and
augmented.png, the crops that the network sees in training. Ignored pixels are white with gray stripes."""
COLUMNS = 4
CELL = 2.6
"""Width of a picture in inches."""
LEGEND_COLUMNS = 6
LINE = 0.2
"""Height of a line of text in inches."""
DOTS = 110
"""Pixels per inch."""
STRIPE = 8
"""Pixels between the stripes over ignored pixels, in a picture of CELL inches."""


def run(name: str, args: list[str]) -> None:
    """Parse the options and write the sheets."""
    parser = Parser(prog=f"refinenet {name}", description=DESCRIPTION)
    add_source(parser)
    parser.add_argument("--output", "-o", type=Path, required=True, help="Folder for the sheets.")
    parser.add_argument("--split", type=Literal["train", "val", "test"], default="train", help="The split.")
    parser.add_argument("--count", type=int, default=12, help="Number of samples, spread over the split.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the augmentation.")
    options = parser.parse_args(args)
    if options.count < 1:
        raise UserError(f"--count: found {options.count}; expected at least 1")
    module = load_data(options.name, options.root)
    module.prepare_data()
    dataset = module.dataset(options.split)
    indices = np.unique(np.linspace(0, len(dataset) - 1, min(options.count, len(dataset))).astype(int)).tolist()
    plain = SegmentationDataset(dataset.samples, len(module.classes), dataset.encoding, colored=dataset.colored)
    sheets = {"labels": [plain[index] for index in indices]}
    if options.split == "train":
        sheets["augmented"] = [dataset[Draw(index, options.seed, 0)] for index in indices]
    files = {kind: options.output / f"{kind}.png" for kind in sheets}
    inputs = [path for sample in dataset.samples for path in (sample.image, sample.mask) if isinstance(path, Path)]
    for source in (module.root, *(path for path in inputs if path.stem in files)):
        check_outputs([Output(file, source) for file in files.values()], "--output")
    for kind, file in files.items():
        with atomic_write(file) as temporary:
            sheet(sheets[kind], module.classes).savefig(temporary, format="png", dpi=DOTS)
        print(f"wrote {file}")


def sheet(samples: Sequence[dict[str, Any]], classes: Classes) -> Figure:
    """Return a figure of samples with their labels blended in, their labels alone, and a legend.

    Args:
        samples: "image" uint8 [3, H, W], "mask" uint8 [H, W] and "name" of each.
        classes: Names and colors.
    """
    columns = min(COLUMNS, len(samples))
    rows = math.ceil(len(samples) / columns)
    ratio = max(sample["mask"].shape[0] / sample["mask"].shape[1] for sample in samples)
    cell = CELL * ratio + LINE
    present = np.unique(np.concatenate([np.unique(sample["mask"]) for sample in samples]))
    handles = [
        Patch(facecolor=color_text(color_code(color)), edgecolor="black", linewidth=0.4, label=name)
        for index, (name, color) in enumerate(zip(classes.names, classes.colors, strict=True))
        if index in present
    ]
    if IGNORE_INDEX in present:
        handles.append(Patch(facecolor="white", edgecolor="gray", hatch="////", linewidth=0.4, label="ignored"))
    legend = LINE * (math.ceil(len(handles) / LEGEND_COLUMNS) + 1)
    height = rows * cell + legend
    figure = Figure(figsize=(columns * CELL * 2, height))
    for index, sample in enumerate(samples):
        left, top = index % columns / columns, 1 - index // columns * cell / height
        axes = figure.add_axes((left + 0.004, top - cell / height, 1 / columns - 0.008, (cell - LINE) / height))
        axes.imshow(_picture(sample, classes))
        axes.set_axis_off()
        axes.set_title(_shortened(sample["name"]), fontsize=7, pad=2)
    figure.legend(handles=handles, loc="lower center", ncols=LEGEND_COLUMNS, fontsize=8, frameon=False)
    return figure


def _picture(sample: dict[str, Any], classes: Classes) -> np.ndarray:
    """Return image with labels, and labels alone, side by side, RGB [H, 2 W, 3], of at most CELL inches each."""
    image, mask = sample["image"], sample["mask"]
    scale = min(1.0, CELL * DOTS / image.shape[2])
    if scale < 1:
        size = [max(1, round(side * scale)) for side in image.shape[1:]]
        image = torch.nn.functional.interpolate(image[None].float(), size, mode="area")[0].round().byte()
        mask = torch.nn.functional.interpolate(mask[None, None], size, mode="nearest-exact")[0, 0]
    pixels = np.moveaxis(np.asarray(image.as_subclass(torch.Tensor)), 0, -1)
    labels = np.asarray(mask.as_subclass(torch.Tensor))
    ignored = labels == IGNORE_INDEX
    colors = colorize(labels, classes.colors).copy()
    blended = overlay(pixels, labels, classes.colors, opacity=0.5)
    blended[ignored] = pixels[ignored]
    rows, columns = np.indices(labels.shape)
    stripes = ignored & ((rows + columns) % STRIPE == 0)
    colors[stripes] = blended[stripes] = (128, 128, 128)
    return np.hstack([blended, colors])


def _shortened(name: str) -> str:
    return name if len(name) <= 40 else f"...{name[-37:]}"
