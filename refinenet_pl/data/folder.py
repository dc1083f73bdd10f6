"""Own data: a folder with images and label images."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from refinenet_pl.data.base import SegmentationDataModule
from refinenet_pl.data.classes import Classes, Color
from refinenet_pl.data.dataset import Sample
from refinenet_pl.data.globs import find_files
from refinenet_pl.data.labels import LabelMap, own_labels
from refinenet_pl.data.pairs import pair
from refinenet_pl.data.split_errors import AbsentSplit
from refinenet_pl.errors import UserError

PLACEHOLDER = "{split}"


class FolderDataModule(SegmentationDataModule):
    """Own images and label images, described in yaml.

    An image and a label image belong together if they have the same name. The samples of each split are in folders of
    their own (`{split}` in `images` and `masks`), in list files (`train_list`, `val_list`), or are drawn (`split`).

    Args:
        root: Folder of the data, or a zip or tar archive of it.
        images: Folder of the images below the root, or a pattern such as photos/*_rgb.jpg. The name of an image is its
            path below the folder without suffix, or the text that the wildcards stand for. `{split}` in it stands for
            train, val or test.
        masks: Folder or pattern of the label images.
        class_names: The classes, in the order of their indices. None: the classes of `label_ids`, in its order.
        class_colors: An RGB color per class, for pictures. None: the colors of `label_ids`, or VOC's color map.
        label_ids: The class, by name or index, of each value of the label images; void or null for ignored pixels. If
            the label images are RGB images: of each color, such as '#ff8000' or '255,128,0'. The value 255 is void
            unless it is listed. None: values are the class indices.
        split_folders: What `{split}` stands for, if it is not train, val and test.
        **kwargs: See `SegmentationDataModule`.

    Raises:
        UserError: The classes or the label values contradict each other; see `own_labels`.
    """

    source = (
        "data.root is the folder of your own data. data.images and data.masks are folders or patterns below it: see "
        "docs/data.md."
    )
    terms = "Own data: the terms of whoever made it apply."

    def __init__(
        self,
        root: str | Path,
        images: str = "images",
        masks: str = "masks",
        class_names: list[str] | None = None,
        class_colors: list[tuple[int, int, int]] | None = None,
        label_ids: dict[str | int, str | int | None] | None = None,
        split_folders: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, **kwargs)
        self.images = images
        self.masks = masks
        self.split_folders = split_folders or {}
        self._label_map = own_labels(class_names, class_colors, label_ids)
        self.classes = self._label_map.classes

    @classmethod
    def configured_classes(
        cls,
        label_ids: Any = None,
        class_names: Sequence[str] | None = None,
        class_colors: Sequence[Color] | None = None,
        **init_args: Any,
    ) -> Classes:
        """Return the classes that a configuration of this class has."""
        return own_labels(class_names, class_colors, label_ids).classes

    @property
    def label_map(self) -> LabelMap:
        """The classes, and what the values of the label images mean."""
        return self._label_map

    def samples(self, split: str) -> list[Sample]:
        """List a split by its folders; without `{split}` in `images` and `masks`, list all samples."""
        by_folder = PLACEHOLDER in self.images
        if by_folder != (PLACEHOLDER in self.masks):
            raise UserError(
                f"data: found images={self.images!r} and masks={self.masks!r}; expected {PLACEHOLDER} in both or in "
                "neither"
            )
        if not by_folder:
            divided = self.split is not None and (split == "train" or self.split.parts_of(split))
            if not divided and self.lists[split] is None:
                raise AbsentSplit(
                    f"data: nothing says which samples are the {split} split. Give data.split, such as "
                    f"{{fractions: [0.8, 0.2]}}; or data.{split}_list; or write {PLACEHOLDER} in data.images and "
                    "data.masks."
                )
            return self._all_samples
        name = self.split_folders.get(split, split)
        return self._pair(self.images.replace(PLACEHOLDER, name), self.masks.replace(PLACEHOLDER, name))

    @cached_property
    def _all_samples(self) -> list[Sample]:
        return self._pair(self.images, self.masks)

    def _pair(self, images: str, masks: str) -> list[Sample]:
        where = f"{self.root}: data.images={images} and data.masks={masks}"
        if images == masks:
            raise UserError(f"{where}: expected different files; use patterns, such as *_image.png and *_mask.png")
        return pair(find_files(self.tree, images, "data.images"), find_files(self.tree, masks, "data.masks"), where)
