"""Cityscapes, with its fine annotations."""

from pathlib import Path
from typing import ClassVar

from refinenet_pl.data.base import SegmentationDataModule, images_in, pair
from refinenet_pl.data.classes import IGNORE_INDEX, Classes
from refinenet_pl.data.dataset import Sample
from refinenet_pl.errors import UserError

CITYSCAPES = Classes(
    names=(
        "road",
        "sidewalk",
        "building",
        "wall",
        "fence",
        "pole",
        "traffic light",
        "traffic sign",
        "vegetation",
        "terrain",
        "sky",
        "person",
        "rider",
        "car",
        "truck",
        "bus",
        "train",
        "motorcycle",
        "bicycle",
    ),
    colors=(
        (128, 64, 128),
        (244, 35, 232),
        (70, 70, 70),
        (102, 102, 156),
        (190, 153, 153),
        (153, 153, 153),
        (250, 170, 30),
        (220, 220, 0),
        (107, 142, 35),
        (152, 251, 152),
        (70, 130, 180),
        (220, 20, 60),
        (255, 0, 0),
        (0, 0, 142),
        (0, 0, 70),
        (0, 60, 100),
        (0, 80, 100),
        (0, 0, 230),
        (119, 11, 32),
    ),
)

EVALUATED_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The label id of each class; submissions to the evaluation server hold these, not train ids."""


class CityscapesDataModule(SegmentationDataModule):
    """Cityscapes' 19 evaluated classes: 2,975 training and 500 validation images of 2048 x 1024 pixels."""

    classes = CITYSCAPES
    label_ids: ClassVar[dict[int, int]] = {
        **dict.fromkeys(range(34), IGNORE_INDEX),
        255: IGNORE_INDEX,  # the license plate's id, -1, in 8 bits
        **{label: train_id for train_id, label in enumerate(EVALUATED_IDS)},
    }
    source = (
        "Cityscapes comes from https://www.cityscapes-dataset.com (login needed): unpack "
        "leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip both into data.root, which then holds "
        "leftImg8bit/train/<city>/*_leftImg8bit.png and gtFine/train/<city>/*_gtFine_labelIds.png, and so for val."
    )
    terms = (
        "Cityscapes has a license of its own (https://www.cityscapes-dataset.com/license), to which every user agrees: "
        "for non-commercial purposes only."
    )

    def samples(self, split: str) -> list[Sample]:
        """Pairs the images and label images of all cities of a split."""
        if split == "test":
            raise UserError(
                "Cityscapes' test labels are not public. Use `validate` for figures on the validation split, or "
                "`predict` on leftImg8bit/test for files to send to the evaluation server."
            )
        images, masks = self.folder("leftImg8bit", split), self.folder("gtFine", split)
        return pair(
            _in_all_cities(images, "_leftImg8bit"),
            _in_all_cities(masks, "_gtFine_labelIds"),
            where=f"{images} and {masks}",
        )


def _in_all_cities(folder: Path, suffix: str) -> dict[str, Path]:
    cities = [city for city in folder.iterdir() if city.is_dir()]
    return {name: path for city in cities for name, path in images_in(city, suffix).items()}
