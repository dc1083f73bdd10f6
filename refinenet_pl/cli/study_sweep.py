"""`refinenet study sweep`: a study as a W&B sweep."""

from pathlib import Path

from refinenet_pl.cli.study import add_fit_options, fit_options, study_parser
from refinenet_pl.outputs import Output, check_outputs
from refinenet_pl.studies.added_seeds import with_added_seeds
from refinenet_pl.studies.commands import flatten
from refinenet_pl.studies.loading import load_study
from refinenet_pl.studies.sweep import sweep, write_sweep


def run(name: str, args: list[str]) -> None:
    """Parse the options and write the sweep."""
    description = "Write a study as a W&B sweep. Its agents run the cells by `refinenet study run`."
    parser = study_parser(name, description)
    parser.add_argument("--output", type=Path | None, help="YAML to write. The default is STUDY_sweep.yaml here.")
    add_fit_options(parser)
    options = parser.parse_args(args)
    study = with_added_seeds(load_study(options.file), options.runs)
    output = options.output or Path(f"{study.name}_sweep.yaml")
    check_outputs([Output(output, options.file)], "--output")
    write_sweep(output, sweep(study, ["--runs", str(options.runs), *flatten(fit_options(options))]))
    print(f"sweep: {output}; start it with: wandb sweep {output}")
