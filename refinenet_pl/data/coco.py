"""COCO, mapped to the classes of PASCAL VOC, for pre-training."""

from pathlib import Path
from typing import Any

from refinenet_pl.data.base import SegmentationDataModule
from refinenet_pl.data.classes import VOC
from refinenet_pl.data.coco_raw import MASKS, convert_instances
from refinenet_pl.data.dataset import Sample
from refinenet_pl.data.lists import listed_names, require_files
from refinenet_pl.errors import UserError

FOLDERS = {"train": "train2017", "val": "val2017"}


class COCODataModule(SegmentationDataModule):
    """COCO 2017 in the classes of PASCAL VOC: the images in which these cover more than 1,000 pixels.

    `refinenet data prepare coco ROOT` converts the instances to label images in ROOT/voc_masks, once: see
    `convert_instances`.

    Args:
        root: Folder with train2017, val2017 and annotations, unpacked or as zip files.
        **kwargs: See `SegmentationDataModule`.
    """

    classes = VOC
    source = (
        "COCO 2017: https://cocodataset.org (train2017.zip, val2017.zip, annotations_trainval2017.zip). data.root "
        "contains train2017, val2017 and annotations/instances_train2017.json, instances_val2017.json, unpacked or in "
        "the zip files. Then run: refinenet data prepare coco ROOT"
    )
    terms = "COCO's annotations are published under CC BY 4.0. Its images come from flickr, and keep flickr's terms."

    def __init__(self, root: str | Path, **kwargs: Any) -> None:
        super().__init__(root, **kwargs)

    def samples(self, split: str) -> list[Sample]:
        """List a split, in the order of the list that `convert` wrote."""
        if split == "test":
            raise UserError("COCO's test labels are not public. Use `validate` for metrics on the validation split.")
        folder = FOLDERS[split]
        masks = self.root / MASKS
        if not (masks / f"{folder}.txt").is_file():
            raise UserError(
                f"{masks / folder}.txt: no such file; the instances are not converted yet. Run once: refinenet data "
                f"prepare coco {self.root}\n{self.source}"
            )
        images = self.folder(folder)
        names = listed_names(masks / f"{folder}.txt")
        samples = [Sample(images / f"{name}.jpg", masks / folder / f"{name}.png", name) for name in names]
        return require_files(samples, self.source)

    def convert(self) -> None:
        """Convert the instances of both splits, as far as their annotations are in the root."""
        for folder in FOLDERS.values():
            path = self.tree / "annotations" / f"instances_{folder}.json"
            if path.is_file():
                convert_instances(path, self.root / MASKS, folder)
