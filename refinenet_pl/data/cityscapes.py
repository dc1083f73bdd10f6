"""Cityscapes, with its fine annotations."""

from typing import ClassVar

from torchvision.datasets import Cityscapes

from refinenet_pl.archive_paths import AnyPath, entries
from refinenet_pl.data.base import SegmentationDataModule
from refinenet_pl.data.classes import IGNORE_INDEX, Classes
from refinenet_pl.data.dataset import Sample
from refinenet_pl.data.pairs import images_in, pair
from refinenet_pl.errors import UserError

_EVALUATED = sorted((row for row in Cityscapes.classes if not row.ignore_in_eval), key=lambda row: row.train_id)

CITYSCAPES = Classes(names=tuple(row.name for row in _EVALUATED), colors=tuple(row.color for row in _EVALUATED))

EVALUATED_IDS: tuple[int, ...] = tuple(row.id for row in _EVALUATED)
"""The label id of each class. Label images and submissions to the evaluation server hold these, not class indices."""


class CityscapesDataModule(SegmentationDataModule):
    """Cityscapes, 19 evaluated classes: 2,975 training and 500 validation images of 2048 x 1024 pixels."""

    classes = CITYSCAPES
    encoding: ClassVar[dict[int, int]] = {
        # Modulo 256, because 8 bits hold the license plate's id, -1, as 255.
        **{row.id % 256: IGNORE_INDEX for row in Cityscapes.classes},
        **{label: index for index, label in enumerate(EVALUATED_IDS)},
    }
    groups = "[^_]+"  # the city
    official_counts: ClassVar[dict[str, int]] = {"train": 2975, "val": 500}
    source = (
        "Cityscapes: https://www.cityscapes-dataset.com (login required). Unpack leftImg8bit_trainvaltest.zip and "
        "gtFine_trainvaltest.zip into data.root. It then contains leftImg8bit/train/<city>/*_leftImg8bit.png and "
        "gtFine/train/<city>/*_gtFine_labelIds.png, and the same for val."
    )
    terms = (
        "Cityscapes has its own license (https://www.cityscapes-dataset.com/license), which every user accepts: "
        "for non-commercial purposes only."
    )

    def samples(self, split: str) -> list[Sample]:
        """Pair the images and the label images of all cities of a split."""
        if split == "test":
            raise UserError(
                "Cityscapes' test labels are not public. Use `validate` for metrics on the validation split, or "
                "`predict` on leftImg8bit/test for files to send to the evaluation server."
            )
        images, masks = self.folder("leftImg8bit", split), self.folder("gtFine", split)
        return pair(
            _in_all_cities(images, "_leftImg8bit"),
            _in_all_cities(masks, "_gtFine_labelIds"),
            where=f"{images}/*/*_leftImg8bit.png and {masks}/*/*_gtFine_labelIds.png",
        )


def _in_all_cities(folder: AnyPath, suffix: str) -> dict[str, AnyPath]:
    found: dict[str, AnyPath] = {}
    for city in (path for path in entries(folder) if path.is_dir()):
        for name, path in images_in(city, suffix).items():
            if name in found:
                raise UserError(f"{found[name]} and {path} have the same name; keep only one of them")
            found[name] = path
    return found
