"""Datasets, from files to batches of uint8 images and train ids; they know nothing of networks."""

from refinenet_pl.data.base import SegmentationDataModule
from refinenet_pl.data.camvid import CamVidDataModule
from refinenet_pl.data.cityscapes import CityscapesDataModule
from refinenet_pl.data.nyudv2 import NYUDv2DataModule
from refinenet_pl.data.person_part import PersonPartDataModule
from refinenet_pl.data.scenes import ScenesDataModule
from refinenet_pl.data.voc import VOCDataModule

__all__ = [
    "CamVidDataModule",
    "CityscapesDataModule",
    "NYUDv2DataModule",
    "PersonPartDataModule",
    "ScenesDataModule",
    "SegmentationDataModule",
    "VOCDataModule",
]
