"""Datasets: from files to batches of uint8 images and class indices. They know nothing of networks.

Importing this package is cheap. A data module, and Lightning with it, is imported when its class is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refinenet_pl.data.ade20k import ADE20KDataModule as ADE20KDataModule
    from refinenet_pl.data.base import SegmentationDataModule as SegmentationDataModule
    from refinenet_pl.data.camvid import CamVidDataModule as CamVidDataModule
    from refinenet_pl.data.cityscapes import CityscapesDataModule as CityscapesDataModule
    from refinenet_pl.data.coco import COCODataModule as COCODataModule
    from refinenet_pl.data.folder import FolderDataModule as FolderDataModule
    from refinenet_pl.data.nyudv2 import NYUDv2DataModule as NYUDv2DataModule
    from refinenet_pl.data.pascal_context import PascalContextDataModule as PascalContextDataModule
    from refinenet_pl.data.person_part import PersonPartDataModule as PersonPartDataModule
    from refinenet_pl.data.scenes import ScenesDataModule as ScenesDataModule
    from refinenet_pl.data.sun_rgbd import SUNRGBDDataModule as SUNRGBDDataModule
    from refinenet_pl.data.voc import VOCDataModule as VOCDataModule

_MODULES = {
    "ADE20KDataModule": "ade20k",
    "CamVidDataModule": "camvid",
    "CityscapesDataModule": "cityscapes",
    "COCODataModule": "coco",
    "FolderDataModule": "folder",
    "NYUDv2DataModule": "nyudv2",
    "PascalContextDataModule": "pascal_context",
    "PersonPartDataModule": "person_part",
    "ScenesDataModule": "scenes",
    "SUNRGBDDataModule": "sun_rgbd",
    "SegmentationDataModule": "base",
    "VOCDataModule": "voc",
}

DATA_MODULES = {name: module for name, module in _MODULES.items() if name != "SegmentationDataModule"}
"""The modules of the classes that can be `data.class_path`, such as {"CamVidDataModule": "camvid"}."""

DATASETS = {module: name for name, module in DATA_MODULES.items() if name != "FolderDataModule"}
"""The data modules by the short names of their datasets, such as "camvid"."""

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    """Import a class on first use (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value  # later uses skip this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
