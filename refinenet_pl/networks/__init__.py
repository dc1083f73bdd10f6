"""Networks, from an image to logits; they know nothing of how they are trained."""

from refinenet_pl.networks.fcn import FCN
from refinenet_pl.networks.lightweight import LightWeightRefineNet
from refinenet_pl.networks.refinenet import RefineNet

__all__ = ["FCN", "LightWeightRefineNet", "RefineNet"]
