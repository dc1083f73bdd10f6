"""Evaluation: the confusion matrix and its figures, results, pictures. Nothing here knows Lightning."""

from refinenet_pl.evaluation.confusion import ConfusionMatrix, class_iou, mean_accuracy, mean_iou, pixel_accuracy
from refinenet_pl.evaluation.inference import Inference

__all__ = ["ConfusionMatrix", "Inference", "class_iou", "mean_accuracy", "mean_iou", "pixel_accuracy"]
