"""NYU Depth V2, with labels in 40 classes."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from refinenet_pl.archive_paths import AnyPath
from refinenet_pl.data.base import SegmentationDataModule
from refinenet_pl.data.classes import IGNORE_INDEX, Classes, voc_colors
from refinenet_pl.data.dataset import Sample
from refinenet_pl.data.lists import listed_groups, listed_samples, require_files
from refinenet_pl.data.nyudv2_raw import RAW_FILE, SCENES_FILE, convert_raw
from refinenet_pl.errors import UserError
from refinenet_pl.images import read_mask
from refinenet_pl.progress import track

NYUDV2 = Classes(
    names=(
        "wall",
        "floor",
        "cabinet",
        "bed",
        "chair",
        "sofa",
        "table",
        "door",
        "window",
        "bookshelf",
        "picture",
        "counter",
        "blinds",
        "desk",
        "shelves",
        "curtain",
        "dresser",
        "pillow",
        "mirror",
        "floor mat",
        "clothes",
        "ceiling",
        "books",
        "refrigerator",
        "television",
        "paper",
        "towel",
        "shower curtain",
        "box",
        "whiteboard",
        "person",
        "night stand",
        "toilet",
        "sink",
        "lamp",
        "bathtub",
        "bag",
        "other structure",
        "other furniture",
        "other prop",
    ),
    colors=voc_colors(41)[1:],
)

ENCODINGS: dict[str, dict[int, int]] = {
    "from_zero": {**{i: i for i in range(len(NYUDV2))}, IGNORE_INDEX: IGNORE_INDEX},
    "from_one": {0: IGNORE_INDEX, **{i + 1: i for i in range(len(NYUDV2))}},
}
"""The class index, or IGNORE_INDEX, of each label value. Copies of the dataset with both encodings exist."""

UNIQUE_VALUE = {"from_zero": IGNORE_INDEX, "from_one": len(NYUDV2)}
"""The one label value that only this encoding uses."""


class NYUDv2DataModule(SegmentationDataModule):
    """NYU Depth V2, 40 classes of indoor scenes: 795 training images; 654 test images, also used for validation.

    Args:
        root: Folder with the images, the label images, and the lists train.txt and test.txt. scenes.txt, which
            `refinenet data prepare` writes, gives the scene of each image: images of a scene depend on each other.
        labels: Encoding of the label images. "from_zero": classes are 0..39 and void (unlabeled) is 255, as the authors
            of the light-weight networks have them. "from_one": classes are 1..40 and void is 0. "auto": detect the
            encoding from the values, once for both splits.
        **kwargs: See `SegmentationDataModule`.
    """

    classes = NYUDV2
    official_counts: ClassVar[dict[str, int]] = {"train": 795, "val": 654, "test": 654}
    source = (
        "NYU Depth V2: https://cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html. data.root contains images/NAME.png "
        "(or .jpg), masks/NAME.png, and the lists train.txt and test.txt. Each line of a list is a NAME, or the paths "
        "of an image and its label image. Or data.root contains the raw nyu_depth_v2_labeled.mat: "
        "`refinenet data prepare nyudv2 ROOT` converts it."
    )
    terms = "NYU Depth V2 states no license that we know of; its authors ask to cite Silberman et al., ECCV 2012."

    def __init__(
        self, root: str | Path, labels: Literal["auto", "from_zero", "from_one"] = "auto", **kwargs: Any
    ) -> None:
        super().__init__(root, **kwargs)
        self.labels = labels

    def samples(self, split: str) -> list[Sample]:
        """List a split, in the order of its list file. "val" is "test", because there is no third split."""
        name = "train.txt" if split == "train" else "test.txt"
        return require_files(listed_samples(self.folder() / name, "images", "masks"), self.source)

    def group_of(self, name: str) -> str:
        """Return the scene of a sample, from scenes.txt, or its group in `group_pattern`; empty if none is known."""
        return super().group_of(name) or self._scenes.get(name, "")

    @cached_property
    def _scenes(self) -> dict[str, str]:
        path = self.folder() / SCENES_FILE
        return listed_groups(path) if path.is_file() else {}

    def convert(self) -> None:
        """Convert the raw file nyu_depth_v2_labeled.mat if it is in the root; see `convert_raw`."""
        if (self.root / RAW_FILE).is_file():
            convert_raw(self.root)

    @cached_property
    def encoding(self) -> Mapping[int, int]:
        """The class index, or IGNORE_INDEX, of each value in the label images.

        Raises:
            UserError: The encoding cannot be detected, or the label images have both.
        """
        return ENCODINGS[self._detect_encoding() if self.labels == "auto" else self.labels]

    def _detect_encoding(self) -> str:
        # Both splits, so that each is read with the same encoding and a mixture is found.
        evidence = _find_unique_values(self.samples("test")) | _find_unique_values(self.samples("train"))
        if not evidence:
            raise UserError(
                f"{self.root}: cannot detect the encoding of the labels. No label image contains 255 (void, if classes "
                "are 0..39) or 40 (a class, if classes are 1..40 and void is 0). Set data.labels to from_zero for the "
                "former, or to from_one for the latter."
            )
        if len(evidence) > 1:
            raise UserError(
                f"{evidence['from_zero']} contains 255, which is only used if classes are 0..39 and void is 255, but "
                f"{evidence['from_one']} contains 40, which is only used if classes are 1..40 and void is 0. Convert "
                "all label images to one of these encodings."
            )
        return next(iter(evidence))


def _find_unique_values(samples: list[Sample]) -> dict[str, AnyPath]:
    """Return the first label image that reveals its encoding, by that encoding; by both if it holds values of both."""
    with track(samples, "Detecting the encoding of the labels") as tracked:
        for _, mask, _ in tracked:
            assert mask is not None
            values = read_mask(mask)
            evidence = {encoding: mask for encoding, value in UNIQUE_VALUE.items() if (values == value).any()}
            if evidence:
                return evidence
    return {}
