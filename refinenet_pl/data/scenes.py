"""Scenes: a small dataset of painted street scenes that needs no download."""

import shutil
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

from PIL import Image

from refinenet_pl.data.base import SegmentationDataModule
from refinenet_pl.data.dataset import Sample
from refinenet_pl.data.pairs import images_in, pair
from refinenet_pl.data.scenes_painter import SCENES, paint_scene
from refinenet_pl.errors import UserError
from refinenet_pl.files import cache_folder, expand
from refinenet_pl.progress import track

SPLITS = {"train": range(600), "val": range(600, 700), "test": range(700, 800)}
"""The scenes of each split, by their index in the painter."""
SIZE = (96, 160)  # height and width: street scenes are wide, and the encoders' stride of 32 divides both
VERSION = 1  # increase it whenever the painter changes, so that nobody trains on outdated images


class ScenesDataModule(SegmentationDataModule):
    """Painted street scenes, 10 classes: 600 training, 100 validation and 100 test images, painted once and then kept.

    Args:
        root: Folder to keep the images in; each seed gets a folder below it. None: the user's cache folder.
        seed: Seed of the painter. Each seed gives different images.
        crop_size: Height and width of training crops in pixels; one number for both. The default is the image size.
        **kwargs: See `SegmentationDataModule`.
    """

    classes = SCENES
    official_counts: ClassVar[dict[str, int]] = {split: len(indices) for split, indices in SPLITS.items()}
    source = "`prepare_data` paints these images. Lightning calls it before every run."
    terms = "refinenet-pl paints the scenes; they have its license, BSD 3-Clause."

    def __init__(
        self, root: str | Path | None = None, seed: int = 0, crop_size: int | tuple[int, int] = SIZE, **kwargs: Any
    ) -> None:
        parent = cache_folder() / "scenes" if root is None else expand(root, "data.root")
        super().__init__(parent / f"v{VERSION}-seed{seed}-{SIZE[0]}x{SIZE[1]}", crop_size=crop_size, **kwargs)
        self.seed = seed

    def prepare_data(self) -> None:
        """Paint the images if they do not exist yet; this takes some seconds.

        Raises:
            UserError: The folder cannot be written.
        """
        if self.root.is_dir():
            return
        # Paint into a temporary folder and rename it when complete. A killed run leaves no incomplete dataset; if
        # several runs paint at the same time, the first to finish wins.
        unfinished = self.root.with_name(f".{self.root.name}-{uuid4().hex}")
        try:
            self._paint(unfinished)
            unfinished.rename(self.root)
        except OSError as error:
            if not self.root.is_dir():
                raise UserError(
                    f"{self.root}: the scenes cannot be painted into this folder ({error}). Set data.root to a folder "
                    "that you can write to, on a disk with 50 MB of space."
                ) from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def samples(self, split: str) -> list[Sample]:
        """Pair the images of folder `split` with the label images of folder `split`_labels."""
        images, masks = self.folder(split), self.folder(f"{split}_labels")
        return pair(images_in(images), images_in(masks), where=f"{images} and {masks.name}")

    def _paint(self, folder: Path) -> None:
        for split in SPLITS:
            (folder / split).mkdir(parents=True)
            (folder / f"{split}_labels").mkdir()
        scenes = [(split, index) for split, indices in SPLITS.items() for index in indices]
        with track(scenes, f"Painting {self.root}") as tracked:
            for split, index in tracked:
                image, mask = paint_scene(self.seed, index, SIZE)
                Image.fromarray(image).save(folder / split / f"{index:04}.png")
                Image.fromarray(mask).save(folder / f"{split}_labels" / f"{index:04}.png")
