"""Evaluation: inference, metrics, bootstrap intervals, results and colored masks. Nothing here needs Lightning."""

from refinenet_pl.evaluation.confusion import ConfusionMatrix
from refinenet_pl.evaluation.inference import Inference
from refinenet_pl.evaluation.metrics import class_iou, mean_accuracy, mean_iou, pixel_accuracy

__all__ = ["ConfusionMatrix", "Inference", "class_iou", "mean_accuracy", "mean_iou", "pixel_accuracy"]
