"""Objects that the configuration of a run names: its data module, or a network of the user's own class."""

from collections.abc import Mapping
from typing import Any

from pytorch_lightning.cli import instantiate_class

from refinenet_pl.errors import UserError
from refinenet_pl.reports.seed_runs import SeedRun
from refinenet_pl.weights.trust import check_section


def create(run: SeedRun, key: str, section: Mapping[str, Any], trust: bool) -> Any:
    """Create the object of one section of a run's configuration.

    Args:
        run: The run. Its folder may be a stranger's.
        key: The section's key, such as "data".
        section: The class and its arguments, as plain values.
        trust: Whether the configuration may name any class. Otherwise it names a class of this package, or
            one that the user has named.

    Raises:
        UserError: The class is not trusted, or cannot be created.
    """
    file = run.folder.config
    if not trust:
        check_section(key, section, file, run.named_classes)
    try:
        return instantiate_class((), dict(section))
    except (KeyError, ImportError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{file}: cannot create the object of `{key}`: {error}") from error
