"""Fills in the parts of a configuration that follow from the data and the encoder.

The saved configuration includes what is filled in, and runs again as it is.
"""

import inspect
from pydoc import locate
from typing import Any

from jsonargparse import Namespace

from refinenet_pl.errors import UserError
from refinenet_pl.networks.encoders import pixel_statistics


def complete(config: Namespace) -> None:
    """Fill in classes, pixel statistics and padding in a parsed configuration.

    - Class names, class colors and number of classes come from the data. Without data, as in prediction, the
      configuration must have them already.
    - Mean and standard deviation come from the encoder, unless they are given.
    - The color of padding comes from the mean, unless it is given or the data module has no `pad_color`.

    Raises:
        UserError: The configured number of classes is not the data's.
    """
    if config.get("data"):
        _complete_classes(config)
    preprocessing = config.model.preprocessing
    arguments = config.model.network.init_args
    if preprocessing.mean is None or preprocessing.std is None:
        name = arguments.get("encoder_name", "")
        mean, std = pixel_statistics(name, arguments.get("encoder_weights"))
        preprocessing.mean = mean if preprocessing.mean is None else preprocessing.mean
        preprocessing.std = std if preprocessing.std is None else preprocessing.std
    if config.get("data") and "pad_color" in config.data.init_args and config.data.init_args.pad_color is None:
        config.data.init_args.pad_color = tuple(round(255 * value) for value in preprocessing.mean)


def _complete_classes(config: Namespace) -> None:
    classes = _locate_class(config.data).configured_classes(**config.data.init_args)
    config.model.preprocessing.class_names = list(classes.names)
    config.model.preprocessing.class_colors = [list(color) for color in classes.colors]
    arguments = config.model.network.init_args
    parameters = inspect.signature(_locate_class(config.model.network)).parameters
    if "classes" in parameters:
        if arguments.classes not in (parameters["classes"].default, len(classes)):
            raise UserError(
                f"the network has {arguments.classes} classes (model.network.init_args.classes), but "
                f"{config.data.class_path} has {len(classes)} classes; leave the number out, or use the data that the "
                "network was made for"
            )
        arguments.classes = len(classes)


def _locate_class(config: Namespace) -> Any:
    return locate(config.class_path)
