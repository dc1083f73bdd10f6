"""PASCAL Person-Part: people of VOC 2010, labeled with six parts of the body."""

from typing import ClassVar

from refinenet_pl.data.base import SegmentationDataModule
from refinenet_pl.data.classes import Classes, voc_colors
from refinenet_pl.data.dataset import Sample
from refinenet_pl.data.lists import listed_samples, require_files
from refinenet_pl.errors import UserError

PERSON_PART = Classes(
    names=("background", "head", "torso", "upper arms", "lower arms", "upper legs", "lower legs"),
    colors=voc_colors(7),
)


class PersonPartDataModule(SegmentationDataModule):
    """PASCAL Person-Part, six parts of the body and background: 1,716 training and 1,817 validation images."""

    classes = PERSON_PART
    official_counts: ClassVar[dict[str, int]] = {"train": 1716, "val": 1817}
    source = (
        "Person-Part: the people of PASCAL-Part (http://roozbehm.info/pascal-parts), on images of VOC 2010 "
        "(http://host.robots.ox.ac.uk/pascal/VOC/voc2010). data.root contains JPEGImages/NAME.jpg, masks/NAME.png with "
        "the values 0..6, and the lists train.txt and val.txt. Each line of a list is a NAME, or the paths of an image "
        "and its label image."
    )
    terms = "The images are PASCAL VOC's. They come from flickr, and their use must respect flickr's terms."

    def samples(self, split: str) -> list[Sample]:
        """List a split, in the order of its list file."""
        if split == "test":
            raise UserError("Person-Part has no test split; papers report validation metrics. Use `validate`.")
        return require_files(listed_samples(self.folder() / f"{split}.txt", "JPEGImages", "masks"), self.source)
