"""`refinenet study`: run a table of experiments, report on it, or hand it to a W&B sweep."""

import argparse
from importlib import import_module
from pathlib import Path

from refinenet_pl.errors import UserError

COMMANDS = {
    "run": "refinenet_pl.cli.study_run",
    "report": "refinenet_pl.cli.study_report",
    "sweep": "refinenet_pl.cli.study_sweep",
}
"""The module of each command, imported only then, since running takes little and plots take much."""

USAGE = """usage: refinenet study COMMAND FILE [OPTIONS]

commands:
  run     run every cell that is not finished; options that it does not know go to each cell's `refinenet fit`
  report  tables, plots and a page from what is finished
  sweep   write the study as a W&B sweep

  refinenet study run experiments/studies/chained_pooling_scenes.yaml
  refinenet study report experiments/studies/chained_pooling_scenes.yaml

refinenet study COMMAND --help lists the options.
"""


def run(args: list[str]) -> None:
    """Run one of the commands, whose name is the second word."""
    if len(args) < 2 or args[1] in ("-h", "--help"):
        print(USAGE)
        return
    if args[1] not in COMMANDS:
        raise UserError(f"no command study {args[1]!r}; expected one of {', '.join(COMMANDS)}")
    parser = argparse.ArgumentParser(f"refinenet study {args[1]}", allow_abbrev=False)
    parser.add_argument("file", type=Path, help="The study's yaml.")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="Folder under which runs have theirs.")
    import_module(COMMANDS[args[1]]).run(parser, args[2:])
