"""Compilation with torch.compile."""

from torch import nn


def compile_children(network: nn.Module) -> None:
    """Compile encoder, decoder and heads in place.

    The children are compiled rather than the whole network: `forward` and `forward_logits` both run them, and the
    keys of the state dict keep their names.
    """
    for child in network.children():
        child.compile()
