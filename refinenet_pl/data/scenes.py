"""A small dataset that needs no download: painted street scenes."""

import os
import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

from PIL import Image
from rich.progress import track

from refinenet_pl.data.base import SegmentationDataModule, images_in, pair
from refinenet_pl.data.dataset import Sample
from refinenet_pl.data.scenes_painter import SCENES, paint_scene

SPLITS = {"train": range(600), "val": range(600, 700), "test": range(700, 800)}
"""The scenes of each split, by their index in the painter."""
SIZE = (96, 160)  # height and width: street scenes are wide, and the encoders divide both by 32
VERSION = 1  # raise it with every change to what the painter paints, so that nobody trains on stale pictures


class ScenesDataModule(SegmentationDataModule):
    """Painted street scenes: 600 training, 100 validation and 100 test pictures, painted once and then kept.

    Args:
        root: Folder to keep the pictures in; each seed gets its own folder there. None: the user's cache folder.
        seed: Other seeds give other pictures.
        crop_size: Height and width of training samples, in pixels; as large as the pictures.
        **kwargs: See `SegmentationDataModule`.
    """

    classes = SCENES
    source = "These pictures are painted by `prepare_data`, which Lightning calls before every run."
    terms = "The scenes are painted by refinenet-pl and share its license, BSD 3-Clause."

    def __init__(
        self, root: str | Path | None = None, seed: int = 0, crop_size: tuple[int, int] = SIZE, **kwargs: Any
    ) -> None:
        parent = _cache_folder() if root is None else Path(root).expanduser()
        super().__init__(parent / f"v{VERSION}-seed{seed}-{SIZE[0]}x{SIZE[1]}", crop_size=crop_size, **kwargs)
        self.seed = seed

    def prepare_data(self) -> None:
        """Paints the pictures if that has not been done yet; takes some seconds."""
        if self.root.is_dir():
            return
        # A folder of our own, renamed when complete: a killed run leaves no half of a dataset behind, and of several
        # that paint at the same time the first to finish wins.
        unfinished = self.root.with_name(f".{self.root.name}-{uuid4().hex}")
        try:
            self._paint(unfinished)
            unfinished.rename(self.root)
        except OSError:
            if not self.root.is_dir():
                raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def samples(self, split: str) -> list[Sample]:
        """Pairs the pictures of folder `split` with the labels of `split`_labels."""
        images, masks = self.folder(split), self.folder(f"{split}_labels")
        return pair(images_in(images), images_in(masks), where=f"{images} and {masks.name}")

    def _paint(self, folder: Path) -> None:
        for split in SPLITS:
            (folder / split).mkdir(parents=True)
            (folder / f"{split}_labels").mkdir()
        scenes = [(split, index) for split, indices in SPLITS.items() for index in indices]
        for split, index in track(scenes, description=f"Painting {self.root}", transient=True):
            image, labels = paint_scene(self.seed, index, SIZE)
            Image.fromarray(image).save(folder / split / f"{index:04}.png")
            Image.fromarray(labels).save(folder / f"{split}_labels" / f"{index:04}.png")


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "refinenet-pl" / "scenes"
