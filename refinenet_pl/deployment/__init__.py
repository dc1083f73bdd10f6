"""Trained networks as files that other programs run: torch.export, ONNX and OpenVINO."""

from refinenet_pl.deployment.running import load_exported

__all__ = ["load_exported"]
