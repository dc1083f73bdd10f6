"""Datasets: from files to batches of uint8 images and class indices. This package does not import the networks.

The data modules load on first use, so that `refinenet_pl.data.classes` does not load Lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refinenet_pl.data.base import SegmentationDataModule
    from refinenet_pl.data.camvid import CamVidDataModule
    from refinenet_pl.data.cityscapes import CityscapesDataModule
    from refinenet_pl.data.nyudv2 import NYUDv2DataModule
    from refinenet_pl.data.person_part import PersonPartDataModule
    from refinenet_pl.data.scenes import ScenesDataModule
    from refinenet_pl.data.voc import VOCDataModule

_MODULES = {
    "CamVidDataModule": "refinenet_pl.data.camvid",
    "CityscapesDataModule": "refinenet_pl.data.cityscapes",
    "NYUDv2DataModule": "refinenet_pl.data.nyudv2",
    "PersonPartDataModule": "refinenet_pl.data.person_part",
    "ScenesDataModule": "refinenet_pl.data.scenes",
    "SegmentationDataModule": "refinenet_pl.data.base",
    "VOCDataModule": "refinenet_pl.data.voc",
}

__all__ = [
    "CamVidDataModule",
    "CityscapesDataModule",
    "NYUDv2DataModule",
    "PersonPartDataModule",
    "ScenesDataModule",
    "SegmentationDataModule",
    "VOCDataModule",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
