"""`refinenet study pictures`: predict the images that the study's page shows."""

from refinenet_pl.cli.study import add_trust_option, study_parser
from refinenet_pl.reports.pictures import predict_pictures


def run(name: str, args: list[str]) -> None:
    """Parse the options and predict."""
    description = "Predict the images on which the rows of a study differ most. `study report` shows them in its page."
    parser = study_parser(name, description)
    add_trust_option(parser)
    options = parser.parse_args(args)
    predict_pictures(options.file, options.runs, options.trust)
