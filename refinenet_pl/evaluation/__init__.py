"""Evaluation: what is counted, the figures, their intervals, results and pictures. Nothing here knows Lightning."""

from refinenet_pl.evaluation.confusion import ConfusionMatrix
from refinenet_pl.evaluation.figures import class_iou, mean_accuracy, mean_iou, pixel_accuracy
from refinenet_pl.evaluation.inference import Inference

__all__ = ["ConfusionMatrix", "Inference", "class_iou", "mean_accuracy", "mean_iou", "pixel_accuracy"]
