"""Networks, from an image to logits; they know nothing of how they are trained."""

from refinenet_pl.networks.fully_conv_net import FullyConvNet
from refinenet_pl.networks.lightweight import LightWeightRefineNet
from refinenet_pl.networks.refinenet import RefineNet

__all__ = ["FullyConvNet", "LightWeightRefineNet", "RefineNet"]
