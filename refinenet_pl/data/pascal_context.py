"""PASCAL-Context: whole scenes of VOC 2010, labeled with 59 classes and background."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from refinenet_pl.archive_paths import AnyPath
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
mmsegmentation's converter writes them."""
LISTS = "SegmentationContext"


class PascalContextDataModule(SegmentationDataModule):
    """PASCAL-Context, 59 classes and background: 4,998 training and 5,105 validation images.

    Args:
        root: Folder that contains VOCdevkit/VOC2010, or either of these two folders; and the annotations.
        background: Count the background as a class, 60 in all. False: 59 classes, and the background is ignored.
        **kwargs: See `SegmentationDataModule`.
    """

    classes = PASCAL_CONTEXT
    official_counts: ClassVar[dict[str, int]] = {"train": 4998, "val": 5105}
    source = (
        "PASCAL-Context: https://cs.stanford.edu/~roozbeh/pascal-context (459 labels, trainval.tar.gz), or PASCAL in "
        "Detail's trainval_merged.json; on images of VOC 2010 (http://host.robots.ox.ac.uk/pascal/VOC/voc2010). "
        "data.root contains VOCdevkit/VOC2010/JPEGImages and one of: SegmentationClassContext/NAME.png in VOC2010, "
        "with the lists ImageSets/SegmentationContext/train.txt and val.txt; trainval_merged.json, which "
        "`refinenet data prepare pascal_context ROOT` converts to these; or trainval/NAME.mat with the lists."
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
        names = listed_names(self.devkit / "ImageSets" / LISTS / f"{split}.txt")
        return require_files([self._sample(name) for name in names], self.source)

    @cached_property
    def devkit(self) -> AnyPath:
        """The folder VOC2010: found from `root`, whichever of its parents that is."""
        folders = [self.tree / "VOCdevkit" / "VOC2010", self.tree / "VOC2010", self.tree]
        found = next((folder for folder in folders if (folder / "JPEGImages").is_dir()), None)
        if found is None:
            self.folder("VOCdevkit", "VOC2010", "JPEGImages")  # raises, with what is expected
        assert found is not None
        return found

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
        """Convert PASCAL in Detail's trainval_merged.json if it is in the root; see `convert_json`."""
        if (self.root / JSON_FILE).is_file():
            devkit = Path(str(self.devkit))
            values = {RAW_IDS[name]: value + 1 for value, name in enumerate(sorted(RAW_IDS))}
            convert_json(self.root / JSON_FILE, devkit / CONVERTED, devkit / "ImageSets" / LISTS, values)

    @cached_property
    def _converted(self) -> bool:
        return (self.devkit / CONVERTED).is_dir()

    def _sample(self, name: str) -> Sample:
        mask = self.devkit / CONVERTED / f"{name}.png" if self._converted else self.tree / "trainval" / f"{name}.mat"
        return Sample(self.devkit / "JPEGImages" / f"{name}.jpg", mask, name)
