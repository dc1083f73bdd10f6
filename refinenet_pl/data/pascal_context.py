"""PASCAL-Context: whole scenes of VOC 2010, labeled with 59 classes and background."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from refinenet_pl.archive_paths import AnyPath, path_below
from refinenet_pl.data.base import SegmentationDataModule
from refinenet_pl.data.classes import IGNORE_INDEX, Classes, voc_colors
from refinenet_pl.data.dataset import Sample
from refinenet_pl.data.labels import LabelIds, changed_labels, plain_labels
from refinenet_pl.data.lists import listed_names, require_files
from refinenet_pl.data.pascal_context_json import JSON_FILE, convert_json
from refinenet_pl.errors import UserError

RAW_IDS = {
    "aeroplane": 2,
    "bicycle": 23,
    "bird": 25,
    "boat": 31,
    "bottle": 34,
    "bus": 45,
    "car": 59,
    "cat": 65,
    "chair": 72,
    "cow": 98,
    "table": 397,
    "dog": 113,
    "horse": 207,
    "motorbike": 258,
    "person": 284,
    "pottedplant": 308,
    "sheep": 347,
    "sofa": 368,
    "train": 416,
    "tvmonitor": 427,
    "bag": 9,
    "bed": 18,
    "bench": 22,
    "book": 33,
    "building": 44,
    "cabinet": 46,
    "ceiling": 68,
    "cloth": 80,
    "computer": 85,
    "cup": 104,
    "door": 115,
    "fence": 144,
    "floor": 158,
    "flower": 159,
    "food": 162,
    "grass": 187,
    "ground": 189,
    "keyboard": 220,
    "light": 232,
    "mountain": 259,
    "mouse": 260,
    "curtain": 105,
    "platform": 296,
    "sign": 355,
    "plate": 295,
    "road": 324,
    "rock": 326,
    "shelves": 349,
    "sidewalk": 354,
    "sky": 360,
    "snow": 366,
    "bedclothes": 19,
    "track": 415,
    "tree": 420,
    "truck": 424,
    "wall": 440,
    "water": 445,
    "window": 454,
    "wood": 458,
}
"""The id of each class among the 459 labels of the release, in the order of PASCAL in Detail (its `eval_orders`), which
the label images of the light-weight networks' authors have too."""

PASCAL_CONTEXT = Classes(names=("background", *RAW_IDS), colors=voc_colors(len(RAW_IDS) + 1))

RAW_LABELS = 459
CONVERTED = "SegmentationClassContext"
"""Folder of the devkit with label images that hold 0 for background and 1..59 for the classes in alphabetical order, as
mmsegmentation's converter writes them from PASCAL in Detail."""
LISTS = "SegmentationContext"

RELEASE_COUNTS = {"train": 4998, "val": 5105}
DETAIL_COUNTS = {"train": 4996, "val": 5104}
"""PASCAL in Detail lacks three images of the release. These counts are those of its maintainers
(github.com/ccvl/detail-api), and users of mmsegmentation's converter find the same."""


class PascalContextDataModule(SegmentationDataModule):
    """PASCAL-Context, 59 classes and background: 4,998 training and 5,105 validation images, all of VOC 2010.

    Args:
        root: Folder that contains VOCdevkit/VOC2010, or either of these two folders; and the annotations.
        background: Count the background as a class, 60 in all. False: 59 classes, and the background is ignored.
        **kwargs: See `SegmentationDataModule`.
    """

    classes = PASCAL_CONTEXT
    source = (
        "PASCAL-Context: https://cs.stanford.edu/~roozbeh/pascal-context (459 labels, trainval.tar.gz), or PASCAL in "
        "Detail's trainval_merged.json (https://codalabuser.blob.core.windows.net/public/trainval_merged.json); on "
        "images of VOC 2010 (http://host.robots.ox.ac.uk/pascal/VOC/voc2010). data.root contains "
        "VOCdevkit/VOC2010/JPEGImages and one of: trainval/NAME.mat, with VOC's lists ImageSets/Main/train.txt and "
        "val.txt; trainval_merged.json, in data.root or VOC2010, which `refinenet data prepare pascal_context ROOT` "
        "converts; or SegmentationClassContext/NAME.png in VOC2010, with the lists "
        "ImageSets/SegmentationContext/train.txt and val.txt, as mmsegmentation's converter writes them."
    )
    terms = "The images are PASCAL VOC's. They come from flickr, and their use must respect flickr's terms."

    def __init__(
        self,
        root: str | Path,
        background: bool = True,
        label_ids: dict[str | int, str | int | None] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, **kwargs)
        self.background = background
        self._label_ids = self._all_changes(background, label_ids)
        self.classes = self.configured_classes(label_ids, background)

    @classmethod
    def configured_classes(cls, label_ids: Any = None, background: bool = True, **init_args: Any) -> Classes:
        """Return the classes that a configuration of this class has."""
        changes = cls._all_changes(background, label_ids)
        return (
            changed_labels(plain_labels(cls.classes), changes, values_known=False).classes if changes else cls.classes
        )

    @staticmethod
    def _all_changes(background: bool, label_ids: LabelIds | None) -> dict[str | int, str | int | None]:
        return ({} if background else {"background": None}) | dict(label_ids or {})

    def samples(self, split: str) -> list[Sample]:
        """List a split, in the order of its list file."""
        if split == "test":
            raise UserError("PASCAL-Context has no test split; papers report validation metrics. Use `validate`.")
        self._check_images()
        names = listed_names(self.devkit / "ImageSets" / self._lists(split) / f"{split}.txt")
        return require_files([self._sample(name) for name in names], self.source)

    @property
    def official_counts(self) -> Mapping[str, int]:  # type: ignore[override]
        """Number of samples of each split, which depends on the form of the label images."""
        return DETAIL_COUNTS if self._converted else RELEASE_COUNTS

    @cached_property
    def devkit(self) -> AnyPath:
        """The folder VOC2010: found from `root`, whichever of its parents that is; VOCdevkit/VOC2010 if missing."""
        folders = [self.tree / "VOCdevkit" / "VOC2010", self.tree / "VOC2010", self.tree]
        return next((folder for folder in folders if (folder / "JPEGImages").is_dir()), folders[0])

    @cached_property
    def encoding(self) -> Mapping[int, int]:
        """The class index of each value in the label images, which depends on their form."""
        if self._converted:
            return (
                {0: 0}
                | {value + 1: self._index_of[name] for value, name in enumerate(sorted(RAW_IDS))}
                | {IGNORE_INDEX: IGNORE_INDEX}
            )
        return dict.fromkeys(range(RAW_LABELS + 1), 0) | {raw: self._index_of[name] for name, raw in RAW_IDS.items()}

    @cached_property
    def _index_of(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(PASCAL_CONTEXT.names)}

    def convert(self) -> None:
        """Convert PASCAL in Detail's trainval_merged.json if it is there; see `convert_json`."""
        path = next((path / JSON_FILE for path in (self.tree, self.devkit) if (path / JSON_FILE).is_file()), None)
        if path is not None:
            self._check_images()
            devkit = Path(str(self.devkit))
            values = {RAW_IDS[name]: value + 1 for value, name in enumerate(sorted(RAW_IDS))}
            convert_json(path, devkit / CONVERTED, devkit / "ImageSets" / LISTS, values)

    @property
    def _converted(self) -> bool:
        return (self.devkit / CONVERTED).is_dir()

    def _lists(self, split: str) -> str:
        """Return the folder of the lists; VOC's own, which are the split of the release, if there are no others."""
        return LISTS if (self.devkit / "ImageSets" / LISTS / f"{split}.txt").is_file() else "Main"

    def _check_images(self) -> None:
        """Check that there is the folder of the images; raises UserError."""
        self.folder(str(path_below(self.devkit / "JPEGImages", self.tree)))

    def _sample(self, name: str) -> Sample:
        mask = self.devkit / CONVERTED / f"{name}.png" if self._converted else self.tree / "trainval" / f"{name}.mat"
        return Sample(self.devkit / "JPEGImages" / f"{name}.jpg", mask, name)
