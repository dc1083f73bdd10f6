"""Trained weights: `load` for all kinds of files, published weights, and weights folders."""

from refinenet_pl.weights.folder import load_weights_folder, write_weights_folder
from refinenet_pl.weights.loading import load
from refinenet_pl.weights.published import PublishedWeights, load_published

__all__ = ["PublishedWeights", "load", "load_published", "load_weights_folder", "write_weights_folder"]
