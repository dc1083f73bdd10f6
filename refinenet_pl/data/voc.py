"""PASCAL VOC 2012, with its own labels or with SBD's added to them."""

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from torchvision.datasets import VOCSegmentation

from refinenet_pl.data.base import SegmentationDataModule
from refinenet_pl.data.classes import Classes, voc_colors
from refinenet_pl.data.dataset import Sample
from refinenet_pl.data.lists import existing, listed_names
from refinenet_pl.errors import UserError

VOC = Classes(
    names=(
        "background",
        "aeroplane",
        "bicycle",
        "bird",
        "boat",
        "bottle",
        "bus",
        "car",
        "cat",
        "chair",
        "cow",
        "diningtable",
        "dog",
        "horse",
        "motorbike",
        "person",
        "pottedplant",
        "sheep",
        "sofa",
        "train",
        "tvmonitor",
    ),
    colors=voc_colors(21),
)


class VOCDataModule(SegmentationDataModule):
    """PASCAL VOC 2012: 20 classes and background; 1,464 training and 1,449 validation images.

    Args:
        root: Folder that holds VOCdevkit/VOC2012 (or either of these two themselves).
        train_split: "train" for VOC's own training images; "trainaug" adds SBD's, 10,582 in all. Validation images
            are never among them.
        sbd_root: Folder of the SBD release, for "trainaug" where VOC2012 has no SegmentationClassAug folder.
            None: `root`/benchmark_RELEASE.
        download: Fetch VOC (2 GB) into `root` if it is not there.
        **kwargs: See `SegmentationDataModule`.
    """

    classes = VOC
    source = (
        "PASCAL VOC 2012 comes from http://host.robots.ox.ac.uk/pascal/VOC/voc2012 "
        "(VOCtrainval_11-May-2012.tar; data.download=true fetches it); data.root is where it was unpacked, with "
        "VOCdevkit/VOC2012/JPEGImages, .../SegmentationClass and .../ImageSets/Segmentation in it."
    )
    terms = (
        "PASCAL VOC's images come from flickr, and their use must respect flickr's terms; SBD's labels are of the same "
        "images."
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
        self.sbd_root = self.root / "benchmark_RELEASE" if sbd_root is None else Path(sbd_root).expanduser()
        self.download = download

    def prepare_data(self) -> None:
        """Downloads VOC if that was asked for and it is not there.

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
        """Lists a split, in the order of its list file."""
        if split == "test":
            raise UserError(
                "VOC's test labels are not public. Use `validate` for figures on the validation split, or `predict` "
                "on the test images for files to send to the evaluation server."
            )
        self.folder(self.devkit.relative_to(self.root))
        if split == "train" and self.train_split == "trainaug":
            return existing(self._augmented(), self.source)
        return existing([self._own(name) for name in self._listed(split)], self.source)

    @cached_property
    def devkit(self) -> Path:
        """The folder VOC2012, whichever of its parents was given; VOCdevkit/VOC2012 if it is nowhere."""
        folders = [self.root / "VOCdevkit" / "VOC2012", self.root / "VOC2012", self.root]
        return next((folder for folder in folders if (folder / "JPEGImages").is_dir()), folders[0])

    def _listed(self, split: str) -> list[str]:
        """The image names in one of VOC's list files."""
        return listed_names(self.devkit / "ImageSets" / "Segmentation" / f"{split}.txt")

    def _own(self, name: str, labels: str = "SegmentationClass") -> Sample:
        return Sample(self.devkit / "JPEGImages" / f"{name}.jpg", self.devkit / labels / f"{name}.png", name)

    def _augmented(self) -> list[Sample]:
        """Training images with labels from SegmentationClassAug, or else from the SBD release."""
        validation = set(self._listed("val"))
        ready = self.devkit / "SegmentationClassAug"
        if not ready.is_dir():
            return self._from_sbd(validation)
        if (self.devkit / "ImageSets" / "Segmentation" / "trainaug.txt").is_file():
            names = self._listed("trainaug")
        else:
            names = sorted({path.stem for path in ready.glob("*.png")} - validation)
        if shared := sorted(validation.intersection(names)):
            raise UserError(
                f"trainaug.txt: {len(shared)} of its images are also validation images, such as {shared[0]}; training "
                "on them would make every figure meaningless. Remove them from the list."
            )
        return [self._own(name, ready.name) for name in names]

    def _from_sbd(self, validation: set[str]) -> list[Sample]:
        """(SBD train + SBD val + VOC train) - VOC val; where both have labels, VOC's, which are the finer ones."""
        folders = [self.sbd_root / "dataset", self.sbd_root]
        sbd = next((folder for folder in folders if (folder / "cls").is_dir()), None)
        if sbd is None:
            raise UserError(
                f"data.train_split=trainaug needs SBD's labels, and they are neither in "
                f"{self.devkit / 'SegmentationClassAug'} (palette PNGs) nor in {folders[0] / 'cls'} (.mat files). "
                "Put the PNGs there, or unpack benchmark.tgz from "
                "http://home.bharathh.info/pubs/codes/SBD/download.html and set data.sbd_root to its benchmark_RELEASE."
            )
        own = set(self._listed("train"))
        names = {name for split in ("train", "val") for name in listed_names(sbd / f"{split}.txt")}
        return [
            self._own(name) if name in own else self._sbd_sample(sbd, name)
            for name in sorted((names | own) - validation)
        ]

    def _sbd_sample(self, sbd: Path, name: str) -> Sample:
        image = self._own(name).image
        return Sample(image if image.is_file() else sbd / "img" / f"{name}.jpg", sbd / "cls" / f"{name}.mat", name)
