"""Why a split cannot be listed: the data lacks it, or some of its files are missing."""

from collections.abc import Sequence

from refinenet_pl.data.dataset import Sample
from refinenet_pl.errors import UserError


class AbsentSplit(UserError):
    """The data lacks the folder or the list of a split."""


class IncompleteSplit(UserError):
    """Files of a split are missing.

    Args:
        message: See `UserError`.
        missing: One line per missing file.
        complete: The samples whose files all exist.
    """

    def __init__(self, message: str, missing: Sequence[str] = (), complete: Sequence[Sample] = ()) -> None:
        super().__init__(message)
        self.missing = missing
        self.complete = complete
