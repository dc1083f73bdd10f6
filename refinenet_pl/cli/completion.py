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
    """Set class names, colors and number, and the encoder's pixel statistics, in a parsed configuration.

    Where there is no data, as in prediction, the classes must stand there already.

    Raises:
        UserError: The network was given another number of classes than the data has.
    """
    if config.get("data"):
        _complete_classes(config)
    arguments = config.model.network.init_args
    if config.model.mean is None or config.model.std is None:
        name = arguments.get("encoder_name", "")
        mean, std = pixel_statistics(name, arguments.get("encoder_weights"))
        config.model.mean = mean if config.model.mean is None else config.model.mean
        config.model.std = std if config.model.std is None else config.model.std


def _complete_classes(config: Namespace) -> None:
    classes = _located(config.data).classes
    config.model.class_names = list(classes.names)
    config.model.class_colors = [list(color) for color in classes.colors]
    arguments = config.model.network.init_args
    parameters = inspect.signature(_located(config.model.network)).parameters
    if "classes" in parameters:
        if arguments.classes not in (parameters["classes"].default, len(classes)):
            raise UserError(
                f"the network has {arguments.classes} classes (model.network.init_args.classes), but "
                f"{config.data.class_path} has {len(classes)} classes; leave it out, or "
                "give the data that the network is for"
            )
        arguments.classes = len(classes)


def _located(config: Namespace) -> Any:
    return locate(config.class_path)
