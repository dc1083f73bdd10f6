"""Networks: from images to logits. They are plain modules without Lightning."""

from refinenet_pl.networks.fully_conv_net import FullyConvNet
from refinenet_pl.networks.lightweight import LightWeightRefineNet
from refinenet_pl.networks.refinenet import RefineNet

__all__ = ["FullyConvNet", "LightWeightRefineNet", "RefineNet"]
