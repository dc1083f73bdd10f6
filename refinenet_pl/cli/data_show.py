"""`refinenet data show`: sheets of images with labels, as they are and as the network sees them in training."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jsonargparse.typing import NonNegativeInt, PositiveInt

from refinenet_pl.cli.data_source import add_source, add_split, load_data
from refinenet_pl.cli.parser import Parser
from refinenet_pl.data.dataset import Sample
from refinenet_pl.data.randomness import Draw
from refinenet_pl.evaluation.pictures import save_picture
from refinenet_pl.outputs import Output, check_outputs
from refinenet_pl.reports.contact_sheet import contact_sheet

DESCRIPTION = """Write sheets of samples with their labels, as PNG: labels.png has the samples as they are on disk, and
augmented.png the crops of the same samples that the network sees in training. Only the training split is augmented.
Each sample is shown as image, image with labels, and labels. Ignored pixels have stripes."""


def run(name: str, args: list[str]) -> None:
    """Parse the options and write the sheets."""
    parser = Parser(prog=f"refinenet {name}", description=DESCRIPTION)
    add_source(parser)
    parser.add_argument("--output", "-o", type=Path, required=True, help="Folder for the sheets.")
    add_split(parser, "train")
    parser.add_argument("--count", type=PositiveInt, default=12, help="Number of samples.")
    parser.add_argument("--seed", type=NonNegativeInt, default=0, help="Seed of the choice and of the augmentation.")
    options = parser.parse_args(args)
    module = load_data(options.name, options.root)
    module.prepare_data()
    dataset, count = module.dataset(options.split), options.count
    kinds = ("labels", "augmented") if options.split == "train" else ("labels",)
    files = {kind: options.output / f"{kind}.png" for kind in kinds}
    check_outputs([Output(file, _input_at(file, dataset.samples, module.root)) for file in files.values()], "--output")
    drawn = np.random.default_rng(options.seed).permutation(len(dataset))[:count]
    draws = [Draw(index, options.seed, epoch=0) for index in sorted(drawn.tolist())]
    title = f"{type(module).__name__}, {options.split}: {len(draws):,} of {len(dataset):,} samples"
    samples = {"labels": dataset.plain(), "augmented": dataset}
    hints = {"labels": "as they are on disk", "augmented": f"augmented as in training, seed {options.seed}"}
    for kind, file in files.items():
        sheet = contact_sheet(f"{title}, {hints[kind]}", [samples[kind][draw] for draw in draws], module.classes)
        save_picture(file, sheet)
        print(f"wrote {file}")


def _input_at(output: Path, samples: Sequence[Sample], root: Path) -> Path:
    """Return the file of a sample that writing to `output` would replace; the root of the data if there is none."""
    if not output.exists():
        return root
    inputs = (file for sample in samples for file in (sample.image, sample.mask) if isinstance(file, Path))
    return next((file for file in inputs if file.samefile(output)), root)
