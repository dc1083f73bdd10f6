"""`refinenet study sweep`: a study as a W&B sweep."""

import argparse
from pathlib import Path

from refinenet_pl.studies.loading import load_study
from refinenet_pl.studies.sweep import sweep, write_sweep


def run(parser: argparse.ArgumentParser, args: list[str]) -> None:
    """Write a study as a W&B sweep."""
    parser.description = "Write a study as a W&B sweep, whose agents run its cells by `refinenet study run`."
    parser.epilog = "Other options go to each cell's `refinenet fit`, such as --data.root=/data/voc."
    parser.add_argument("--output", type=Path, help="The yaml to write; by default STUDY_sweep.yaml here.")
    options, further = parser.parse_known_args(args)
    study = load_study(options.file)
    output = options.output or Path(f"{study.name}_sweep.yaml")
    write_sweep(output, sweep(study, ["--runs", str(options.runs), *further]))
    print(f"sweep: {output}; start it with: wandb sweep {output}")
