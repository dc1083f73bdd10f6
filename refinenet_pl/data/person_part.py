"""PASCAL Person-Part: the bodies of VOC 2010's people, in six parts."""

from refinenet_pl.data.base import SegmentationDataModule
from refinenet_pl.data.classes import Classes, voc_colors
from refinenet_pl.data.dataset import Sample
from refinenet_pl.data.lists import existing, listed_samples
from refinenet_pl.errors import UserError

PERSON_PART = Classes(
    names=("background", "head", "torso", "upper arms", "lower arms", "upper legs", "lower legs"),
    colors=voc_colors(7),
)


class PersonPartDataModule(SegmentationDataModule):
    """PASCAL Person-Part: six parts of the body and background; 1,716 training and 1,817 validation images."""

    classes = PERSON_PART
    source = (
        "Person-Part is made of the people in PASCAL-Part (http://roozbehm.info/pascal-parts), whose images are "
        "VOC 2010's (http://host.robots.ox.ac.uk/pascal/VOC/voc2010); data.root holds JPEGImages/NAME.jpg, "
        "masks/NAME.png with the values 0..6, and the lists train.txt and val.txt, with a NAME, or the paths of an "
        "image and its labels, on each line."
    )
    terms = "The images are PASCAL VOC's, which come from flickr, and their use must respect flickr's terms."

    def samples(self, split: str) -> list[Sample]:
        """Lists a split, in the order of its list file."""
        if split == "test":
            raise UserError(
                "Person-Part has no test split: its published figures are of the validation images. Use `validate`."
            )
        return existing(listed_samples(self.folder() / f"{split}.txt", "JPEGImages", "masks"), self.source)
