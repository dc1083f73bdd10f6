"""Everything that is wrong with a dataset, by kind: in its listing, in its files, and between its splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from refinenet_pl.data.base import SegmentationDataModule
from refinenet_pl.data.dataset import Sample, SegmentationDataset
from refinenet_pl.data.inspection import SAMPLE_FAULTS, SampleFacts, inspect
from refinenet_pl.data.labels import LabelMap
from refinenet_pl.data.near_duplicates import near_duplicates
from refinenet_pl.data.split_errors import AbsentSplit, IncompleteSplit
from refinenet_pl.data.splits import SPLITS
from refinenet_pl.errors import UserError
from refinenet_pl.files import path_inside
from refinenet_pl.text import join

MISSING = "missing file"

Lines = dict[str, list[str]]
"""Lines of text, by kind."""


@dataclass
class Findings:
    """What was found in a dataset.

    Attributes:
        splits: One line on each split: how many samples it has, or why it is not checked.
        samples: Number of samples that were read.
        problems: Lines on each kind of problem.
        warnings: Lines on each kind of what may be intended.
    """

    splits: dict[str, str] = field(default_factory=dict)
    samples: int = 0
    problems: Lines = field(default_factory=dict)
    warnings: Lines = field(default_factory=dict)

    def add_problem(self, kind: str, *lines: str) -> None:
        """Add lines on a kind of problem."""
        if lines:
            self.problems.setdefault(kind, []).extend(lines)

    def add_warning(self, kind: str, *lines: str) -> None:
        """Add lines on a kind of warning."""
        if lines:
            self.warnings.setdefault(kind, []).extend(lines)


def find(module: SegmentationDataModule, workers: int) -> Findings:
    """Read every sample of all splits once, and return all that is wrong.

    Args:
        module: The data.
        workers: Most processes to start.

    Raises:
        UserError: The data have no split at all.
    """
    findings = Findings()
    listed = _list_splits(module, findings)
    labels: LabelMap | None = None
    try:
        labels = module.label_map
    except UserError as error:  # an encoding that is detected from label images, one of which may be broken
        findings.add_problem("unknown encoding of the label images; their values are not checked", str(error))
    facts: dict[str, list[SampleFacts]] = {}
    for split, samples in listed.items():
        dataset = SegmentationDataset(samples, len(module.classes))
        if labels is not None:
            dataset = SegmentationDataset(samples, len(labels.classes), labels.encoding, colored=labels.colored)
        facts[split] = inspect(dataset, workers, f"Reading the {split} split", values_known=labels is not None)
        findings.samples += len(samples)
    for kind in SAMPLE_FAULTS:
        lines = [line for split in facts.values() for sample in split for found, line in sample.faults if found == kind]
        findings.add_problem(kind, *lines)
    for first, second in combinations(listed, 2):
        _compare(findings, {split: listed[split] for split in (first, second)}, facts)
    if labels is not None:
        _find_absent_classes(findings, module.classes.names, facts)
    return findings


def _list_splits(module: SegmentationDataModule, findings: Findings) -> dict[str, list[Sample]]:
    """Return the samples to read of each split, and add what is wrong with the listing."""
    listed: dict[str, list[Sample]] = {}
    errors: list[UserError] = []
    for split in SPLITS:
        try:
            samples = module.chosen_samples(split)
        except IncompleteSplit as error:
            known = {*findings.problems.get(MISSING, ())}
            findings.add_problem(MISSING, *(line for line in error.missing if line not in known))
            if known and _is_own(module, split):  # else all samples of the dataset would be in each of its splits
                findings.splits[split] = "not checked: which samples it has is unknown, because files are missing"
                continue
            samples = [*error.complete]
        except UserError as error:
            errors.append(error)
            findings.splits[split] = f"not checked: {str(error).splitlines()[0]}"
            if not _may_lack(module, split, error):
                findings.add_problem("split that cannot be listed", f"{split}: {error}")
            continue
        same = "val" if split == "test" and {*listed.get("val", ())} == {*samples} else None
        findings.splits[split] = f"the same samples as {same}" if same else f"{len(samples):,} samples"
        _compare_count(module, split, len(samples), findings)
        if same is None:
            _check_names(samples, split, findings)
            listed[split] = samples
    if not listed:
        raise errors[0]
    return listed


def _is_own(module: SegmentationDataModule, split: str) -> bool:
    """Whether the user's list or division chooses the samples of a split, instead of the dataset."""
    return module.lists[split] is not None or (module.split is not None and bool(module.split.parts_of(split)))


def _may_lack(module: SegmentationDataModule, split: str, error: UserError) -> bool:
    """Whether a split that cannot be listed is no problem: it was not fetched, or it has no public labels."""
    if _is_own(module, split):
        return False
    return isinstance(error, AbsentSplit) or (bool(module.official_counts) and split not in module.official_counts)


def _compare_count(module: SegmentationDataModule, split: str, count: int, findings: Findings) -> None:
    official = module.official_counts.get(split)
    if official is None or _is_own(module, split):
        return
    if count == official:
        findings.splits[split] += ", all of the official split"
        return
    findings.splits[split] += f"; the official split has {official:,}"
    line = f"{split}: {count:,} samples; the official split has {official:,}"
    if count < official:
        findings.add_warning("part of an official split, whose metrics differ from published ones", line)
    else:
        findings.add_problem("more samples than the official split", line)


def _check_names(samples: Sequence[Sample], split: str, findings: Findings) -> None:
    by_name: dict[str, list[Sample]] = {}
    for sample in samples:
        by_name.setdefault(sample.name, []).append(sample)
    for name, named in by_name.items():
        if len(named) > 1:
            findings.add_problem("name of several samples of a split", f"{split}: {join(each.image for each in named)}")
        try:
            path_inside(".", f"{name}.png")
        except UserError as error:
            findings.add_problem("name that no file can have", f"{split}: {error}")


def _compare(
    findings: Findings, pair: Mapping[str, Sequence[Sample]], facts: Mapping[str, Sequence[SampleFacts]]
) -> None:
    """Add images that are in both of two splits, and images that look nearly the same."""
    (first, ours), (second, theirs) = pair.items()

    def line(index: int, other: int) -> str:
        return f"{ours[index].image} ({first}) and {theirs[other].image} ({second})"

    by_content: dict[str, int] = {}
    for index, sample in enumerate(facts[first]):
        if sample.content is not None:
            by_content.setdefault(sample.content, index)
    same = [(by_content[each.content], other) for other, each in enumerate(facts[second]) if each.content in by_content]
    findings.add_problem("same image in two splits", *(line(*indices) for indices in same))
    hashes = [[sample.perceptual_hash for sample in facts[split]] for split in (first, second)]
    found = [
        f"{line(index, other)}: {bits} of 64 bits differ"
        for index, other, bits in near_duplicates(*hashes)
        if facts[first][index].content != facts[second][other].content
    ]
    findings.add_warning("nearly the same image in two splits, by perceptual hash", *found)


def _find_absent_classes(findings: Findings, names: Sequence[str], facts: Mapping[str, Sequence[SampleFacts]]) -> None:
    for split, samples in facts.items():
        pixels = sum(sample.pixels for sample in samples if sample.pixels is not None)
        absent = [name for index, name in enumerate(names) if isinstance(pixels, int) or not pixels[index]]
        if absent:
            findings.add_warning("class without pixels", f"{split}: {join(absent, limit=40)}")
