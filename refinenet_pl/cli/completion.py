"""Fills in what a configuration need not say, because the data and the network know it.

Nothing is linked behind the configuration's back: what is filled in stands in the saved file, which runs again as is.
"""

import inspect
from pydoc import locate
from typing import Any

from jsonargparse import Namespace

from refinenet_pl.errors import UserError
from refinenet_pl.networks.encoders import pixel_statistics


def complete(config: Namespace) -> None:
    """Set class names, colours and number, and the encoder's pixel statistics, in a parsed configuration.

    Raises:
        UserError: The network was given another number of classes than the data has.
    """
    classes = _located(config.data).classes
    config.model.class_names = list(classes.names)
    config.model.class_colors = [list(color) for color in classes.colors]
    network = config.model.network
    arguments = network.init_args
    parameters = inspect.signature(_located(network)).parameters
    if "classes" in parameters:
        if arguments.classes not in (parameters["classes"].default, len(classes)):
            raise UserError(
                f"model.network.init_args.classes is {arguments.classes}, but {config.data.class_path} has "
                f"{len(classes)} classes; leave it out"
            )
        arguments.classes = len(classes)
    if config.model.mean is None or config.model.std is None:
        name = arguments.get("encoder_name", "")
        mean, std = pixel_statistics(name, arguments.get("encoder_weights"))
        config.model.mean = mean if config.model.mean is None else config.model.mean
        config.model.std = std if config.model.std is None else config.model.std


def _located(config: Namespace) -> Any:
    return locate(config.class_path)
