"""Evaluation: what is counted, the metrics, their intervals, results and pictures. Nothing here knows Lightning."""

from refinenet_pl.evaluation.confusion import ConfusionMatrix
from refinenet_pl.evaluation.inference import Inference
from refinenet_pl.evaluation.metrics import class_iou, mean_accuracy, mean_iou, pixel_accuracy

__all__ = ["ConfusionMatrix", "Inference", "class_iou", "mean_accuracy", "mean_iou", "pixel_accuracy"]
