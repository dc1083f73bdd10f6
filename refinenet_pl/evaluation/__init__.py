"""Evaluation: inference, confusion matrices, metrics, intervals and results. Nothing here imports Lightning."""

from refinenet_pl.evaluation.confusion import ConfusionMatrix
from refinenet_pl.evaluation.inference import Inference
from refinenet_pl.evaluation.metrics import class_iou, mean_accuracy, mean_iou, pixel_accuracy

__all__ = ["ConfusionMatrix", "Inference", "class_iou", "mean_accuracy", "mean_iou", "pixel_accuracy"]
