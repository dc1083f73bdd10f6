"""`refinenet data check`: everything that is wrong with a dataset, in one list."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

from refinenet_pl.cli.data_source import add_source, load_data
from refinenet_pl.cli.parser import Parser
from refinenet_pl.data import SegmentationDataModule
from refinenet_pl.data.inspection import SampleFacts, inspect, same_images, similar_images
from refinenet_pl.data.splits import SPLITS
from refinenet_pl.errors import UserError
from refinenet_pl.text import join

DESCRIPTION = """Read every sample, and list all problems: files that are missing or cannot be read, sizes that differ,
label values that are no class, other numbers of samples than officially, and images that are in two splits. Images of
two splits that look nearly the same, and classes without pixels, are listed as warnings. The exit status is 1 if there
is a problem."""
SHOWN = 20
"""Most lines of one kind that are printed."""


@dataclass
class Report:
    """What was found.

    Attributes:
        counts: The number of samples of each split.
        problems: Lines of each kind of problem.
        warnings: Lines of each kind of warning.
    """

    counts: dict[str, int] = field(default_factory=dict)
    problems: dict[str, list[str]] = field(default_factory=dict)
    warnings: dict[str, list[str]] = field(default_factory=dict)


def run(name: str, args: list[str]) -> int:
    """Parse the options, check the data, and print what was found."""
    parser = Parser(prog=f"refinenet {name}", description=DESCRIPTION)
    add_source(parser)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="Samples that are read at a time.")
    options = parser.parse_args(args)
    module = load_data(options.name, options.root)
    report = check(module, max(1, options.workers))
    print(f"{type(module).__name__} in {module.root}: {join(f'{split} {n:,}' for split, n in report.counts.items())}")
    for title, lines in (*report.warnings.items(), *report.problems.items()):
        if lines:
            print(f"\n{title} ({len(lines):,}):")
            for line in lines[:SHOWN]:
                print(f"  {line.splitlines()[0]}")
            if len(lines) > SHOWN:
                print(f"  and {len(lines) - SHOWN:,} more")
    count = sum(map(len, report.problems.values()))
    print(f"\n{count:,} problems" if count else "\nno problems")
    return int(count > 0)


def check(module: SegmentationDataModule, workers: int) -> Report:
    """Read all samples of all splits, and return what is wrong.

    Raises:
        UserError: No split can be listed.
    """
    module.prepare_data()
    report = Report()
    facts: dict[str, list[SampleFacts]] = {}
    unlisted: dict[str, UserError] = {}
    for split in SPLITS:
        try:
            dataset = module.dataset(split)
        except UserError as error:
            unlisted[split] = error
            continue
        facts[split] = inspect(dataset, workers, f"Reading the {split} split")
        report.counts[split] = len(dataset)
    if not facts:
        raise next(iter(unlisted.values()))
    # Not every dataset has a test split with labels.
    optional = {"test"} - module.official_counts.keys()
    report.warnings["no labels of a test split"] = [str(unlisted[split]) for split in unlisted if split in optional]
    report.problems["split that cannot be listed"] = [
        str(unlisted[split]) for split in unlisted if split not in optional
    ]
    report.problems["sample"] = [error for split in facts.values() for sample in split for error in sample.errors]
    report.problems["number of samples"] = [
        f"{split}: found {report.counts[split]:,} samples; officially {official:,}"
        for split, official in module.official_counts.items()
        if split in report.counts and module.lists[split] is None and module.split is None
        if report.counts[split] != official
    ]
    _compare_splits(module, facts, report)
    report.warnings["class without pixels"] = [
        f"{split}: {join(_absent(module.classes.names, samples), limit=40)}"
        for split, samples in facts.items()
        if _absent(module.classes.names, samples)
    ]
    return report


def _compare_splits(module: SegmentationDataModule, facts: dict[str, list[SampleFacts]], report: Report) -> None:
    same = report.problems.setdefault("image in two splits", [])
    similar = report.warnings.setdefault("similar images in two splits, by perceptual hash", [])
    for first, second in combinations(facts, 2):
        if {sample.image for sample in module.dataset(first).samples} == {
            sample.image for sample in module.dataset(second).samples
        }:
            continue  # a dataset without a third split, whose test split is also its validation split
        same += [f"{first}/{a} and {second}/{b}" for a, b in same_images(facts[first], facts[second])]
        similar += [
            f"{first}/{a} and {second}/{b}: {bits} of 64 bits differ"
            for a, b, bits in similar_images(facts[first], facts[second])
        ]


def _absent(names: Sequence[str], samples: Sequence[SampleFacts]) -> list[str]:
    counted = [sample.pixels for sample in samples if sample.pixels is not None]
    return [name for index, name in enumerate(names) if not any(pixels[index] for pixels in counted)]
