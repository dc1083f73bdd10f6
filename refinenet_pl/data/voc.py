"""PASCAL VOC 2012, with its own labels or with those of SBD added."""

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from torchvision.datasets import VOCSegmentation

from refinenet_pl.archive_paths import AnyPath, data_root, path_below
from refinenet_pl.data.base import SegmentationDataModule, images_in
from refinenet_pl.data.classes import VOC as VOC
from refinenet_pl.data.dataset import Sample
from refinenet_pl.data.lists import find_image, listed_names, require_files
from refinenet_pl.errors import UserError
from refinenet_pl.files import expand


class VOCDataModule(SegmentationDataModule):
    """PASCAL VOC 2012, 20 classes and background: 1,464 training and 1,449 validation images.

    Args:
        root: Folder that contains VOCdevkit/VOC2012, or either of these two folders.
        train_split: "train": VOC's own training images. "trainaug": SBD's as well, 10,582 in all, without validation
            images.
        sbd_root: Folder of the SBD release. "trainaug" needs it if VOC2012 has no folder SegmentationClassAug.
            None: `root`/benchmark_RELEASE.
        download: Download VOC (2 GB) into `root` if it is missing.
        **kwargs: See `SegmentationDataModule`.
    """

    classes = VOC
    official_counts: ClassVar[dict[str, int]] = {"train": 1464, "val": 1449}
    source = (
        "PASCAL VOC 2012: http://host.robots.ox.ac.uk/pascal/VOC/voc2012 (VOCtrainval_11-May-2012.tar; "
        "data.download=true downloads it). data.root is the folder where it was unpacked, with "
        "VOCdevkit/VOC2012/JPEGImages, .../SegmentationClass and .../ImageSets/Segmentation."
    )
    terms = (
        "PASCAL VOC's images come from flickr, and their use must respect flickr's terms. SBD labels the same images."
    )

    def __init__(
        self,
        root: str | Path,
        train_split: Literal["train", "trainaug"] = "train",
        sbd_root: str | Path | None = None,
        download: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, **kwargs)
        self.train_split = train_split
        if train_split == "trainaug":
            self.official_counts = {"train": 10582, "val": 1449}  # type: ignore[misc]
        self.sbd_root = None if sbd_root is None else expand(sbd_root, "data.sbd_root")
        self.download = download

    def prepare_data(self) -> None:
        """Download VOC if `download` is set and it is missing.

        Raises:
            UserError: The download failed.
        """
        if not self.download or self.devkit.is_dir():
            return
        try:
            VOCSegmentation(self.root, year="2012", image_set="trainval", download=True)
        except (OSError, RuntimeError) as error:
            raise UserError(f"{self.root}: VOC could not be downloaded ({error}).\n{self.source}") from error

    def samples(self, split: str) -> list[Sample]:
        """List a split, in the order of its list file."""
        if split == "test":
            raise UserError(
                "VOC's test labels are not public. Use `validate` for metrics on the validation split, or `predict` "
                "on the test images for files to send to the evaluation server."
            )
        self.folder(str(path_below(self.devkit, self.tree)))
        if split == "train" and self.train_split == "trainaug":
            return require_files(self._trainaug(), self.source)
        return require_files([self._voc_sample(name) for name in self._list(split)], self.source)

    @cached_property
    def devkit(self) -> AnyPath:
        """The folder VOC2012: found from `root`, whichever of its parents that is; VOCdevkit/VOC2012 if missing."""
        folders = [self.tree / "VOCdevkit" / "VOC2012", self.tree / "VOC2012", self.tree]
        return next((folder for folder in folders if (folder / "JPEGImages").is_dir()), folders[0])

    def _list(self, split: str) -> list[str]:
        """Read the image names in one of VOC's list files."""
        return listed_names(self.devkit / "ImageSets" / "Segmentation" / f"{split}.txt")

    def _voc_sample(self, name: str, labels: str = "SegmentationClass") -> Sample:
        image = find_image(self.devkit / "JPEGImages", name, ".jpg")
        return Sample(image, self.devkit / labels / f"{name}.png", name)

    def _trainaug(self) -> list[Sample]:
        """List the training images with labels from SegmentationClassAug; without this folder, from SBD's release."""
        validation = set(self._list("val"))
        converted = self.devkit / "SegmentationClassAug"
        if not converted.is_dir():
            return self._trainaug_from_sbd(validation)
        if (self.devkit / "ImageSets" / "Segmentation" / "trainaug.txt").is_file():
            names = self._list("trainaug")
        else:
            names = sorted(images_in(converted).keys() - validation)
        if shared := sorted(validation.intersection(names)):
            raise UserError(
                f"trainaug.txt: {len(shared)} of its images are also validation images, such as {shared[0]}. Training "
                "on them would invalidate every metric. Remove them from the list."
            )
        return [self._voc_sample(name, converted.name) for name in names]

    def _trainaug_from_sbd(self, validation: set[str]) -> list[Sample]:
        """List (SBD train + SBD val + VOC train) - VOC val. VOC's labels take precedence, because they are finer."""
        release = self.tree / "benchmark_RELEASE" if self.sbd_root is None else data_root(self.sbd_root)
        folders = [release / "dataset", release]
        sbd = next((folder for folder in folders if (folder / "cls").is_dir()), None)
        if sbd is None:
            raise UserError(
                f"data.train_split=trainaug needs SBD's labels. Found neither "
                f"{self.devkit / 'SegmentationClassAug'} (palette PNGs) nor {folders[0] / 'cls'} (.mat files). "
                "Put the PNGs in the former, or unpack benchmark.tgz from "
                "http://home.bharathh.info/pubs/codes/SBD/download.html and set data.sbd_root to its benchmark_RELEASE."
            )
        voc_train = set(self._list("train"))
        names = {name for split in ("train", "val") for name in listed_names(sbd / f"{split}.txt")}
        return [
            self._voc_sample(name) if name in voc_train else self._sbd_sample(sbd, name)
            for name in sorted((names | voc_train) - validation)
        ]

    def _sbd_sample(self, sbd: AnyPath, name: str) -> Sample:
        image = self._voc_sample(name).image
        return Sample(image if image.is_file() else sbd / "img" / f"{name}.jpg", sbd / "cls" / f"{name}.mat", name)
