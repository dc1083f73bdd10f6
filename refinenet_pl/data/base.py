"""What all datasets share: finding errors before training starts, and the loaders."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from refinenet_pl.data.classes import Classes
from refinenet_pl.data.dataset import Sample, SegmentationDataset
from refinenet_pl.data.sampling import EvaluationSampler, training_sampler
from refinenet_pl.data.transforms import training_transform
from refinenet_pl.errors import UserError
from refinenet_pl.images import is_image


class SegmentationDataModule(pl.LightningDataModule):
    """A dataset with its splits and loaders. A subclass gives `classes`, `source`, and `samples`.

    Training batches are {"image": uint8 [N, 3, h, w], "mask": uint8 [N, h, w], "name": list of N str}. Evaluation
    takes one sample at a time, without a batch axis, at the labels' own size.

    Args:
        root: Folder of the dataset; each dataset says what must lie in it.
        batch_size: Training samples a step, on each device; near the 6 of the light-weight networks' published recipe.
        num_workers: Processes that read samples, on each device; 0 reads in the training process. More than 4
            help where the device waits for data.
        crop_size: Height and width of training samples, in pixels. Near the 500 of the published recipes, and
            divisible by the 32 of the encoders.
        scale_range: Lowest and highest random scale of training samples; the light-weight networks' published recipe.
        short_side: Lowest and highest length of the scaled shorter side, in pixels. Off, since it depends on the
            dataset; [450, 1100] are the authors' bounds for images of about 500 pixels.
        flip: Mirror every second training sample, as in all published recipes.
        color_jitter: Strength of random brightness, contrast and saturation, 0..1. Off, as in the published recipes.
    """

    classes: ClassVar[Classes]
    source: ClassVar[str]
    """Where the dataset comes from, and what its folder must hold; part of error messages."""
    terms: ClassVar[str] = "Unknown."
    """Under which terms the data may be used; part of the model card of what is trained on it."""

    def __init__(
        self,
        root: str | Path,
        batch_size: int = 8,
        num_workers: int = 4,
        crop_size: tuple[int, int] = (512, 512),
        scale_range: tuple[float, float] = (0.5, 2.0),
        short_side: tuple[int, int] | None = None,
        flip: bool = True,
        color_jitter: float = 0.0,
    ) -> None:
        super().__init__()
        self.root = Path(root).expanduser()
        self.batch_size = batch_size
        self.num_workers = num_workers
        self._augmentation: dict[str, Any] = {
            "crop_size": crop_size,
            "scale_range": scale_range,
            "short_side": short_side,
            "flip": flip,
            "color_jitter": color_jitter,
        }
        self._datasets: dict[str, SegmentationDataset] = {}

    @property
    def label_ids(self) -> Mapping[int, int] | None:
        """Train id, or IGNORE_INDEX, of each value in the label files; None where those are train ids and 255 already."""
        return None

    def samples(self, split: str) -> list[Sample]:
        """Lists a split, always in the same order.

        Args:
            split: "train", "val" or "test".

        Raises:
            UserError: Files are missing, or this split has no public labels.
        """
        raise NotImplementedError

    def dataset(self, split: str) -> SegmentationDataset:
        """The samples of a split, augmented if it is "train"; raises what `samples` raises."""
        if split not in self._datasets:
            transform = training_transform(**self._augmentation) if split == "train" else None
            self._datasets[split] = SegmentationDataset(
                self.samples(split), len(self.classes), self.label_ids, transform
            )
        return self._datasets[split]

    def setup(self, stage: str) -> None:
        """Finds the files of the splits that this stage needs, so that what is missing shows at once."""
        for split in {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}.get(stage, ()):
            self.dataset(split)

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of augmented samples, shuffled; an incomplete last batch is left out."""
        dataset = self.dataset("train")
        sampler = training_sampler(dataset)
        if len(sampler) < self.batch_size:
            raise UserError(
                f"batch_size={self.batch_size}, but the training split has only {len(sampler)} images a device, which "
                f"is less than one batch. Set data.batch_size to {len(sampler)} or less."
            )
        return DataLoader(
            dataset,
            self.batch_size,
            sampler=sampler,
            drop_last=True,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """Single samples of the validation split, as they are on disk."""
        return evaluation_loader(self.dataset("val"), self.num_workers)

    def test_dataloader(self) -> DataLoader[Any]:
        """Single samples of the test split, as they are on disk."""
        return evaluation_loader(self.dataset("test"), self.num_workers)

    def folder(self, *parts: str | Path) -> Path:
        """A folder under `root` that must exist; raises UserError with what the dataset needs where it does not."""
        path = self.root.joinpath(*parts)
        if not path.is_dir():
            raise UserError(f"{path}: no such folder, with data.root={self.root}.\n{self.source}")
        return path


def evaluation_loader(dataset: Dataset[Any], num_workers: int) -> DataLoader[Any]:
    """Gives each sample exactly once over all devices, one a step, without a batch axis.

    Alone in its step, a sample is neither resized nor padded to others' size, and no figure can depend on which
    samples share a batch.

    Args:
        dataset: Samples of any sizes.
        num_workers: Processes that read them; 0 reads in this process.
    """
    sampler = EvaluationSampler(dataset)  # type: ignore[arg-type]
    if len(sampler.dataset) < sampler.num_replicas:  # type: ignore[arg-type]
        raise UserError(f"{len(sampler.dataset)} images cannot be dealt to {sampler.num_replicas} devices: use fewer.")  # type: ignore[arg-type]
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=sampler,
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
    )


def images_in(folder: Path, suffix: str = "") -> dict[str, Path]:
    """The image files right in a folder, by name without suffix.

    Args:
        folder: An existing folder.
        suffix: Take only files whose stem ends so; it is cut off the name.

    Raises:
        UserError: Two files have the same name.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if is_image(path) and path.stem.endswith(suffix):
            other = found.setdefault(path.stem.removesuffix(suffix), path)
            if other != path:
                raise UserError(
                    f"{other} and {path.name} have the same name: keep one, so that it is clear which counts."
                )
    return found


def pair(images: Mapping[str, Path], masks: Mapping[str, Path], where: str) -> list[Sample]:
    """Pairs images and label images by name.

    Args:
        images: Image files by name.
        masks: Label files by name.
        where: The folders, for the error message.

    Returns:
        Samples in order of their names.

    Raises:
        UserError: There is nothing, or one is without the other.
    """
    lonely = sorted(images.keys() ^ masks.keys())
    if lonely:
        files = [str(images.get(name) or masks[name]) for name in lonely[:5]]
        raise UserError(
            f"{where}: {len(lonely)} of {len(images.keys() | masks.keys())} files lack the image or the label image "
            f"of the same name, among them {', '.join(files)}. Add what is missing, or remove these files."
        )
    if not images:
        raise UserError(f"{where}: no images. Expected at least one image with its label image.")
    return [Sample(images[name], masks[name], name) for name in sorted(images)]
