"""`refinenet study pictures`: predictions, receptive fields and class ceilings for the study's report."""

from refinenet_pl.cli.study import add_trust_option, study_parser
from refinenet_pl.reports.pictures import make_pictures


def run(name: str, args: list[str]) -> None:
    """Parse the options and make the pictures."""
    description = (
        "Make what `study report` shows of checkpoints and data: predictions of the images on which the rows differ "
        "most, receptive fields, and the ceiling of each class."
    )
    parser = study_parser(name, description)
    add_trust_option(parser)
    options = parser.parse_args(args)
    make_pictures(options.file, options.runs, options.trust)
