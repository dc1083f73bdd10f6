"""SUN RGB-D: indoor scenes, labeled with 37 classes."""

from typing import ClassVar

from refinenet_pl.data.base import SegmentationDataModule
from refinenet_pl.data.classes import IGNORE_INDEX, Classes
from refinenet_pl.data.dataset import Sample
from refinenet_pl.data.lists import find_image, require_files
from refinenet_pl.data.nyudv2 import NYUDV2
from refinenet_pl.data.pairs import images_in

# The list seg37list of the dataset's toolbox is NYU's first 37 classes, with "fridge" and "tv" for two of them.
SUN_RGBD = Classes(names=NYUDV2.names[:37], colors=NYUDV2.colors[:37])

TEST_IMAGES = 5050
"""Label images are numbered over both splits: the test images come first."""


class SUNRGBDDataModule(SegmentationDataModule):
    """SUN RGB-D, 37 classes of indoor scenes: 5,285 training images; 5,050 test images, also used for validation."""

    classes = SUN_RGBD
    encoding: ClassVar[dict[int, int]] = {0: IGNORE_INDEX, **{index + 1: index for index in range(len(SUN_RGBD))}}
    official_counts: ClassVar[dict[str, int]] = {"train": 5285, "val": 5050, "test": 5050}
    source = (
        "SUN RGB-D (https://rgbd.cs.princeton.edu), in the form of https://github.com/ankurhanda/sunrgbd-meta-data. "
        "data.root contains train/img-NNNNNN.jpg (of SUNRGBD-train_images.tgz), test/img-NNNNNN.jpg (of "
        "SUNRGBD-test_images.tgz), and labels/img-NNNNNN.png (of sunrgbd_train_test_labels.tar.gz), whose first 5,050 "
        "are those of the test images."
    )
    terms = "SUN RGB-D states no license that we know of; its authors ask to cite Song et al., CVPR 2015."

    def samples(self, split: str) -> list[Sample]:
        """List a split by the numbers of its images. "val" is "test", because there is no third split."""
        folder, offset = ("train", TEST_IMAGES) if split == "train" else ("test", 0)
        labels = self.folder("labels")
        samples = []
        for name, image in images_in(self.folder(folder)).items():
            number = int("".join(letter for letter in name if letter.isdecimal()) or 0) + offset
            samples.append(Sample(image, find_image(labels, f"img-{number:06}", ".png"), f"{folder}-{name}"))
        return require_files(samples, self.source)
