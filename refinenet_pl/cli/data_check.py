"""`refinenet data check`: everything that is wrong with a dataset, in one list."""

from refinenet_pl.cli.data_source import add_source, add_workers, load_data
from refinenet_pl.cli.parser import Parser
from refinenet_pl.data.findings import Findings, Lines, find

DESCRIPTION = """Read every sample of all splits once, and list all problems by kind: missing files; images and label
images that cannot be read; sizes that differ; label values that are no class; samples of one name; images that are in
two splits; more samples than the official split. Images of two splits that look nearly the same, as consecutive frames
of a video do, parts of an official split, and classes without pixels are warnings. The exit status is 1 if there is a
problem."""
SHOWN = 20
"""Most lines of one kind that are printed."""


def run(name: str, args: list[str]) -> int:
    """Parse the options, check the data, and print what was found."""
    parser = Parser(prog=f"refinenet {name}", description=DESCRIPTION)
    add_source(parser)
    add_workers(parser)
    options = parser.parse_args(args)
    module = load_data(options.name, options.root)
    module.prepare_data()
    findings = find(module, options.workers)
    print(f"{type(module).__name__} in {module.root}")
    print("\n".join(report_lines(findings)))
    return int(bool(findings.problems))


def report_lines(findings: Findings) -> list[str]:
    """Return the lines to print: each split, then warnings, then problems, then how many there are."""
    lines = [f"  {split:<5} {line}" for split, line in findings.splits.items()]
    lines += [*_listed("warning", findings.warnings), *_listed("problem", findings.problems)]
    warnings, problems = (sum(map(len, kinds.values())) for kinds in (findings.warnings, findings.problems))
    lines += ["", f"{findings.samples:,} samples read: {problems:,} problems, {warnings:,} warnings"]
    return lines


def _listed(heading: str, kinds: Lines) -> list[str]:
    lines = []
    for kind, found in kinds.items():
        lines += ["", f"{heading}: {kind} ({len(found):,})", *(f"  {line.splitlines()[0]}" for line in found[:SHOWN])]
        if len(found) > SHOWN:
            lines.append(f"  and {len(found) - SHOWN:,} more")
    return lines
