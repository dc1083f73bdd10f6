"""COCO, mapped to the classes of PASCAL VOC, for pre-training."""

from pathlib import Path
from typing import Any, ClassVar

from refinenet_pl.data.base import SegmentationDataModule
from refinenet_pl.data.classes import VOC
from refinenet_pl.data.coco_raw import MASKS, convert_instances, read_areas
from refinenet_pl.data.dataset import Sample
from refinenet_pl.data.lists import require_files
from refinenet_pl.errors import UserError

FOLDERS = {"train": "train2017", "val": "val2017"}


class COCODataModule(SegmentationDataModule):
    """COCO 2017 in the classes of PASCAL VOC: training images that show enough of them; all 5,000 validation images.

    The images and the labels are those of torchvision's reference training, except for crowds, which are ignored here:
    see `convert_instances`. `refinenet data prepare coco ROOT` writes the label images to ROOT/voc_masks, once.

    Args:
        root: Folder with train2017, val2017 and annotations, unpacked or as zip files.
        min_pixels: Training images in which the objects of VOC's classes have no more pixels in total are left out. The
            default is torchvision's. 0 takes all images with such an object, -1 also the others.
        **kwargs: See `SegmentationDataModule`.
    """

    classes = VOC
    official_counts: ClassVar[dict[str, int]] = {"val": 5000}
    source = (
        "COCO 2017: https://cocodataset.org (train2017.zip, val2017.zip, annotations_trainval2017.zip). data.root "
        "contains train2017, val2017 and annotations/instances_train2017.json, instances_val2017.json, unpacked or in "
        "the zip files. Then run: refinenet data prepare coco ROOT"
    )
    terms = "COCO's annotations are published under CC BY 4.0. Its images come from flickr, and keep flickr's terms."

    def __init__(self, root: str | Path, min_pixels: int = 1000, **kwargs: Any) -> None:
        super().__init__(root, **kwargs)
        self.min_pixels = min_pixels

    def samples(self, split: str) -> list[Sample]:
        """List a split, sorted by name."""
        if split == "test":
            raise UserError("COCO's test labels are not public. Use `validate` for metrics on the validation split.")
        folder, masks = FOLDERS[split], self.root / MASKS
        path = masks / f"{folder}.txt"
        if not path.is_file():
            raise UserError(
                f"{path}: no such file; the instances are not converted yet. Run once: refinenet data prepare coco "
                f"{self.root}\n{self.source}"
            )
        images = self.folder(folder)
        names = [name for name, area in read_areas(path).items() if split == "val" or area > self.min_pixels]
        samples = [Sample(images / f"{name}.jpg", masks / folder / f"{name}.png", name) for name in names]
        return require_files(samples, self.source)

    def convert(self) -> None:
        """Convert the instances of both splits, as far as their annotations are in the root.

        Raises:
            UserError: There are neither annotations nor label images; or see `convert_instances`.
        """
        annotations = self.tree / "annotations"
        paths = {folder: annotations / f"instances_{folder}.json" for folder in FOLDERS.values()}
        found = {folder: path for folder, path in paths.items() if path.is_file()}
        if not found and not (self.root / MASKS).is_dir():
            raise UserError(f"{paths['train2017']}: no such file (data.root is {self.root}).\n{self.source}")
        if found and not self.root.is_dir():
            raise UserError(
                f"{self.root}: is in an archive, but label images are written to data.root. Set data.root to the "
                "folder that contains the archive."
            )
        for folder, path in found.items():
            convert_instances(path, self.root / MASKS, folder)
