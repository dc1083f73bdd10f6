"""PASCAL Person-Part: people of VOC 2010, labeled with six parts of the body."""

from typing import ClassVar

from refinenet_pl.data.base import SegmentationDataModule
from refinenet_pl.data.classes import Classes, voc_colors
from refinenet_pl.data.dataset import Sample
from refinenet_pl.data.label_files import write_names
from refinenet_pl.data.lists import listed_names, listed_samples, require_files
from refinenet_pl.data.person_part_raw import ANNOTATIONS, convert_annotations
from refinenet_pl.errors import UserError

PERSON_PART = Classes(
    names=("background", "head", "torso", "upper arms", "lower arms", "upper legs", "lower legs"),
    colors=voc_colors(7),
)

DEVKIT = "VOCdevkit/VOC2010"


class PersonPartDataModule(SegmentationDataModule):
    """PASCAL Person-Part, six parts of the body and background: 1,716 training and 1,817 validation images."""

    classes = PERSON_PART
    official_counts: ClassVar[dict[str, int]] = {"train": 1716, "val": 1817}
    source = (
        "Person-Part: the people of PASCAL-Part (http://roozbehm.info/pascal-parts), on images of VOC 2010 "
        "(http://host.robots.ox.ac.uk/pascal/VOC/voc2010). data.root contains JPEGImages/NAME.jpg (or "
        "VOCdevkit/VOC2010/JPEGImages/NAME.jpg), masks/NAME.png with the values 0..6, and the lists train.txt and "
        "val.txt (http://liangchiehchen.com/projects/DeepLab.html). Each line of a list is a NAME, or the paths of an "
        "image and its label image. Or data.root contains PASCAL-Part's Annotations_Part/NAME.mat in place of masks: "
        "`refinenet data prepare person_part ROOT` converts them, and makes missing lists from VOC's."
    )
    terms = "The images are PASCAL VOC's. They come from flickr, and their use must respect flickr's terms."

    def samples(self, split: str) -> list[Sample]:
        """List a split, in the order of its list file."""
        if split == "test":
            raise UserError("Person-Part has no test split; papers report validation metrics. Use `validate`.")
        return require_files(self._listed(split), self.source)

    def convert(self) -> None:
        """Convert PASCAL-Part's annotations if they are in the root, and make the lists that are missing.

        A list that is missing gets the images of VOC 2010's list in which some part of a person is labeled. That these
        are the official lists is not verified; compare the number of samples with `official_counts`.

        Raises:
            UserError: See `convert_annotations`; or there is neither a list nor VOC's.
        """
        annotations, masks = self.tree / ANNOTATIONS, self.root / "masks"
        if not annotations.is_dir():
            return
        for split in ("train", "val"):
            if (self.tree / f"{split}.txt").is_file():
                convert_annotations(annotations, [sample.name for sample in self._listed(split)], masks)
            else:
                names = listed_names(self.folder(DEVKIT, "ImageSets", "Main") / f"{split}.txt")
                write_names(
                    self.root / f"{split}.txt", convert_annotations(annotations, names, masks, all_listed=False)
                )

    def _listed(self, split: str) -> list[Sample]:
        images = f"{DEVKIT}/JPEGImages" if (self.tree / DEVKIT / "JPEGImages").is_dir() else "JPEGImages"
        return listed_samples(self.folder() / f"{split}.txt", images, "masks")
