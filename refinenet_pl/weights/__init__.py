"""Weights as files: other people's, and the folders in which ours are handed out."""

from refinenet_pl.weights.folder import load_weights_folder, write_weights_folder
from refinenet_pl.weights.published import PublishedWeights, load_published

__all__ = ["PublishedWeights", "load_published", "load_weights_folder", "write_weights_folder"]
