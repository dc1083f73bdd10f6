"""NYU Depth V2, with its labels in 40 classes."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from rich.progress import track

from refinenet_pl.data.base import SegmentationDataModule
from refinenet_pl.data.classes import IGNORE_INDEX, Classes, voc_colors
from refinenet_pl.data.dataset import Sample
from refinenet_pl.data.lists import existing, listed_samples
from refinenet_pl.errors import UserError
from refinenet_pl.images import read_mask

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

FORMS: dict[str, dict[int, int]] = {
    "from_zero": {**{i: i for i in range(len(NYUDV2))}, IGNORE_INDEX: IGNORE_INDEX},
    "from_one": {0: IGNORE_INDEX, **{i + 1: i for i in range(len(NYUDV2))}},
}
"""The train id, or IGNORE_INDEX, of each label value, in both forms in which people have the labels."""

ONLY_IN = {"from_zero": IGNORE_INDEX, "from_one": len(NYUDV2)}
"""The one value that only labels of this form can hold."""


class NYUDv2DataModule(SegmentationDataModule):
    """NYU Depth V2's 40 classes of indoor scenes: 795 training images, and 654 test images for validation too.

    Args:
        root: Folder with the images, the labels, and the lists train.txt and test.txt.
        labels: "from_zero" where the label files hold classes as 0..39 and void as 255, as the light-weight networks'
            authors have them; "from_one" where they hold classes as 1..40 and void as 0; "auto" tells by the values
            which of the two it is, once for both splits.
        **kwargs: See `SegmentationDataModule`.
    """

    classes = NYUDV2
    source = (
        "NYU Depth V2 comes from https://cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html; data.root holds "
        "images/NAME.png (or .jpg), masks/NAME.png, and the lists train.txt and test.txt, with a NAME, or the paths of "
        "an image and its labels, on each line."
    )
    terms = "NYU Depth V2 states no license that we know of; its authors ask to cite Silberman et al., ECCV 2012."

    def __init__(
        self, root: str | Path, labels: Literal["auto", "from_zero", "from_one"] = "auto", **kwargs: Any
    ) -> None:
        super().__init__(root, **kwargs)
        self.labels = labels

    def samples(self, split: str) -> list[Sample]:
        """Lists a split, in the order of its list file; "val" is "test", since there is no third split."""
        name = "train.txt" if split == "train" else "test.txt"
        return existing(listed_samples(self.folder() / name, "images", "masks"), self.source)

    @cached_property
    def label_ids(self) -> Mapping[int, int]:
        """Train id, or IGNORE_INDEX, of each value in the label files.

        Raises:
            UserError: It cannot be told by the values which form they have.
        """
        return FORMS[self._form_by_values() if self.labels == "auto" else self.labels]

    def _form_by_values(self) -> str:
        # Both splits, whichever is asked for, so that they are read alike and a mixture of the forms is found.
        told = _tell_form(self.samples("test")) | _tell_form(self.samples("train"))
        if not told:
            raise UserError(
                f"{self.root}: no label image holds 255 (void, where classes are 0..39) or 40 (a class, where they are "
                "1..40 and void is 0), so that the two cannot be told apart. Set data.labels to from_zero for the "
                "former, to from_one for the latter."
            )
        if len(told) > 1:
            raise UserError(
                f"{told['from_zero']} holds 255, as only labels 0..39 with void 255 do, but {told['from_one']} holds "
                "40, as only labels 1..40 with void 0 do. Bring all labels into one of these forms."
            )
        return next(iter(told))


def _tell_form(samples: list[Sample]) -> dict[str, Path]:
    """The first label file that tells its form, by that form; by both forms if it holds the values of both."""
    for _, mask, _ in track(samples, description="Telling the form of the labels", transient=True):
        assert mask is not None
        values = read_mask(mask)
        if told := {form: mask for form, value in ONLY_IN.items() if (values == value).any()}:
            return told
    return {}
