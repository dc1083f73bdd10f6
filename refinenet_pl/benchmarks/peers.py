"""Networks of other packages, named on the command line as a call with plain arguments."""

import ast
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from segmentation_models_pytorch.base import SegmentationModel
from torch import Tensor, nn

from refinenet_pl.errors import UserError

EXAMPLE = "segmentation_models_pytorch.FPN('resnet50', encoder_weights=None, classes=19)"


class LogitsOnly(nn.Module):
    """Returns the logits of a network that returns more: torchvision's under "out", others first.

    Args:
        network: The network.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits [N, C, h, w] of images [N, 3, H, W]."""
        output: Any = self.network(images)
        if isinstance(output, Mapping):
            output = output["out"]
        logits: Tensor = output[0] if isinstance(output, tuple | list) else output
        return logits


def make_peer(call: str) -> nn.Module:
    """Make a network from text such as `segmentation_models_pytorch.FPN('resnet50', classes=19)`.

    Args:
        call: The full name of a class or a function, and its arguments: numbers, text, lists, True, False, None.

    Raises:
        UserError: The text is no such call, or the package or the name does not exist, or the call fails.
    """
    try:
        expression = ast.parse(call, mode="eval").body
        name = ast.unparse(expression.func if isinstance(expression, ast.Call) else expression)
        given = expression if isinstance(expression, ast.Call) else ast.Call(expression, [], [])
        arguments = [ast.literal_eval(argument) for argument in given.args]
        options = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in given.keywords}
        module, _, function = name.rpartition(".")
        if not module or not all(part.isidentifier() for part in name.split(".")):
            raise ValueError("no package")
    except (SyntaxError, ValueError) as error:
        raise UserError(
            f"--against: found {call!r}; expected a call with plain arguments, such as {EXAMPLE}"
        ) from error
    try:
        make = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"--against: cannot import {name} ({error}); install its package, or correct the name"
        ) from error
    try:
        network = make(*arguments, **options)
    except Exception as error:
        raise UserError(f"--against: {call} failed ({type(error).__name__}: {error}); expected a network") from error
    if not isinstance(network, nn.Module):
        raise UserError(f"--against: {call} returned {type(network).__name__}; expected a network")
    return network if isinstance(network, SegmentationModel) else LogitsOnly(network)


def peer_name(call: str) -> str:
    """Return the package and the last word of a peer's name, such as "torchvision fcn_resnet50"."""
    words = call.partition("(")[0].split(".")
    return f"{words[0]} {words[-1]}"
