"""Weights as files: other people's, and the folders in which ours are handed out."""

from refinenet_pl.weights.folder import Preprocessing, load_weights_folder, write_weights_folder
from refinenet_pl.weights.published import Published, load_published

__all__ = ["Preprocessing", "Published", "load_published", "load_weights_folder", "write_weights_folder"]
