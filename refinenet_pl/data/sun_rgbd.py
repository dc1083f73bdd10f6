"""SUN RGB-D: indoor scenes, labeled with 37 classes."""

import re
from typing import ClassVar

from refinenet_pl.archive_paths import AnyPath, data_root
from refinenet_pl.data.base import SegmentationDataModule
from refinenet_pl.data.classes import IGNORE_INDEX, Classes
from refinenet_pl.data.dataset import Sample
from refinenet_pl.data.lists import require_files
from refinenet_pl.data.nyudv2 import NYUDV2
from refinenet_pl.data.pairs import images_in
from refinenet_pl.errors import UserError

# The list seg37list of the dataset's toolbox is NYU's first 37 classes, with "fridge" and "tv" for two of them.
SUN_RGBD = Classes(names=NYUDV2.names[:37], colors=NYUDV2.colors[:37])

IMAGES = {"train": 5285, "test": 5050}


class SUNRGBDDataModule(SegmentationDataModule):
    """SUN RGB-D, 37 classes of indoor scenes: 5,285 training images; 5,050 test images, also used for validation.

    Label images are numbered over both splits: 1..5050 are those of the test images, 5051..10335 those of the training
    images 1..5285.
    """

    classes = SUN_RGBD
    encoding: ClassVar[dict[int, int]] = {0: IGNORE_INDEX, **{index + 1: index for index in range(len(SUN_RGBD))}}
    official_counts: ClassVar[dict[str, int]] = {"train": 5285, "val": 5050, "test": 5050}
    source = (
        "SUN RGB-D (https://rgbd.cs.princeton.edu), in the form of https://github.com/ankurhanda/sunrgbd-meta-data. "
        "data.root contains SUNRGBD-train_images.tgz, SUNRGBD-test_images.tgz and sunrgbd_train_test_labels.tar.gz "
        "(then run: refinenet data prepare sun_rgbd ROOT), or their content in folders of the same names: "
        "SUNRGBD-train_images/img-NNNNNN.jpg, SUNRGBD-test_images/img-NNNNNN.jpg and "
        "sunrgbd_train_test_labels/img-NNNNNN.png. The folders can also be named train, test and labels."
    )
    terms = "SUN RGB-D states no license that we know of; its authors ask to cite Song et al., CVPR 2015."

    def samples(self, split: str) -> list[Sample]:
        """List a split by the numbers of its images. "val" is "test", because there is no third split."""
        part = "train" if split == "train" else "test"
        images = self._part(part, f"SUNRGBD-{part}_images")
        labels = self._part("labels", "sunrgbd_train_test_labels")
        offset = IMAGES["test"] if part == "train" else 0
        samples = [
            Sample(image, labels / f"img-{_number(image, part) + offset:06}.png", f"{part}-{name}")
            for name, image in images_in(images).items()
        ]
        if not samples:
            raise UserError(f"{images}: no images; expected img-000001.jpg, img-000002.jpg, ...\n{self.source}")
        return require_files(samples, self.source)

    def _part(self, name: str, archive: str) -> AnyPath:
        """Return a folder, by its name or that of its archive; without one, the plain tar, which has no folder in it.

        Raises:
            UserError: There is none of them.
        """
        for folder in (name, archive):
            if (self.tree / folder).is_dir():
                return self.tree / folder
        # Not through the tree: the tars of training and test images hold files of the same names.
        tar = self.root / f"{archive}.tar"
        return data_root(tar) if tar.is_file() else self.folder(archive)


def _number(image: AnyPath, part: str) -> int:
    """Return the number of an image; raises UserError if it has none, or one that would lead to a wrong label image."""
    match = re.fullmatch(r"img-([0-9]{6})", image.stem)
    if not match or not 1 <= int(match[1]) <= IMAGES[part]:
        raise UserError(
            f"{image}: expected the names img-000001 to img-{IMAGES[part]:06}, whose numbers lead to the label images. "
            "Use the files as they were published."
        )
    return int(match[1])
