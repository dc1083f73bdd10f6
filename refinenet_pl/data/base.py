"""The data module that all datasets share: splits, loaders, and checks before training starts."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from refinenet_pl.data.broken import split_readable
from refinenet_pl.data.checks import check_names, check_overlap, warn_absent_classes
from refinenet_pl.data.classes import Classes
from refinenet_pl.data.dataset import Sample, SegmentationDataset
from refinenet_pl.data.sampling import TrainingSampler, evaluation_sampler
from refinenet_pl.data.transforms import training_transform
from refinenet_pl.errors import UserError
from refinenet_pl.files import expand
from refinenet_pl.images import is_image
from refinenet_pl.text import join


class SegmentationDataModule(pl.LightningDataModule):
    """A dataset with its splits and loaders. A subclass defines `classes`, `source` and `samples`.

    Training batches are {"image": uint8 [N, 3, h, w], "mask": uint8 [N, h, w], "name": list of N str}. Evaluation
    yields one sample per step, without a batch axis, at the size of its label image.

    Args:
        root: Folder of the dataset. `source` says what it must contain.
        batch_size: Training samples per step and device. The default is near the 6 of the light-weight networks'
            published recipe.
        num_workers: Processes per device that read samples; 0 reads in the training process. More than 4 help if the
            device waits for data.
        crop_size: Height and width of training crops in pixels; one number for both. The default is near the 500 of the
            published recipes, and divisible by the encoders' stride of 32.
        scale_range: Lowest and highest random scale of training samples. The default is the light-weight networks'
            published recipe.
        short_side: Lowest and highest length of the scaled image's shorter side, in pixels. None, the default, sets no
            bounds, because they depend on the dataset; the authors use [450, 1100] for images of about 500 pixels.
        flip: Flip half of the training samples left to right, as in all published recipes.
        color_jitter: Strength of random brightness, contrast and saturation, 0..1. The default is 0, as in the
            published recipes.
        pad_color: RGB color, 0..255, that fills training crops around images that are smaller. It should be the mean
            color of the encoder's normalization. None: ImageNet's, (124, 116, 104).
        skip_broken: Number of samples that may be left out because they cannot be read. With more than 0, all samples
            are read once before training or evaluation starts, and those left out are named. The default is 0: the
            first such sample stops the run.

    Attributes:
        skipped: The samples that `setup` left out: "split", "name" and "error" of each.
    """

    classes: ClassVar[Classes]
    source: ClassVar[str]
    """Where to get the dataset, and what its folder must contain. Error messages end with it."""
    terms: ClassVar[str] = "Unknown."
    """Terms of use of the data. The model card of networks that are trained on it repeats them."""

    def __init__(
        self,
        root: str | Path,
        batch_size: int = 8,
        num_workers: int = 4,
        crop_size: int | tuple[int, int] = (512, 512),
        scale_range: tuple[float, float] = (0.5, 2.0),
        short_side: tuple[int, int] | None = None,
        flip: bool = True,
        color_jitter: float = 0.0,
        pad_color: tuple[int, int, int] | None = None,
        skip_broken: int = 0,
    ) -> None:
        super().__init__()
        self.root = expand(root, "data.root")
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.skip_broken = skip_broken
        self.skipped: list[dict[str, str]] = []
        self._augmentation: dict[str, Any] = {
            "crop_size": crop_size,
            "scale_range": scale_range,
            "short_side": short_side,
            "flip": flip,
            "color_jitter": color_jitter,
            "pad_color": pad_color,
        }
        self._datasets: dict[str, SegmentationDataset] = {}
        self._read_splits: set[str] = set()
        self._first_epoch = self._batches_done = 0

    @property
    def label_ids(self) -> Mapping[int, int] | None:
        """The class index, or IGNORE_INDEX, of each value in the label images. None if they hold these already."""
        return None

    def samples(self, split: str) -> list[Sample]:
        """List a split, always in the same order.

        Args:
            split: "train", "val" or "test".

        Raises:
            UserError: Files are missing, or the split has no public labels.
        """
        raise NotImplementedError

    def dataset(self, split: str) -> SegmentationDataset:
        """Return the dataset of a split; only "train" is augmented.

        Raises:
            UserError: See `samples`; or two samples have one name, or a name cannot be a file name.
        """
        if split not in self._datasets:
            samples = self.samples(split)
            check_names(samples, split)
            transform = training_transform(**self._augmentation) if split == "train" else None
            self._datasets[split] = self._make_dataset(samples, transform)
        return self._datasets[split]

    def _make_dataset(self, samples: Sequence[Sample], transform: v2.Transform | None = None) -> SegmentationDataset:
        return SegmentationDataset(samples, len(self.classes), self.label_ids, transform)

    def setup(self, stage: str) -> None:
        """List the splits that this stage needs and check them, so that mistakes are reported before it starts.

        Raises:
            UserError: See `dataset`; or more samples than `skip_broken` cannot be read, a training image is also a
                validation image, or all labels are ignored.
        """
        splits = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}.get(stage, ())
        datasets = [self.dataset(split) for split in splits]
        if not all(isinstance(dataset, SegmentationDataset) for dataset in datasets):
            return  # a subclass has datasets of its own
        for split, dataset in zip(splits, datasets, strict=True):
            if self.skip_broken > 0 and split not in self._read_splits:
                self._leave_out_broken(split, dataset)
        if stage == "fit":
            training, validation = datasets
            check_overlap(training.samples, validation.samples)
            warn_absent_classes(training, self.classes.names)

    def _leave_out_broken(self, split: str, dataset: SegmentationDataset) -> None:
        self._read_splits.add(split)
        dataset.samples, errors = split_readable(self._make_dataset(dataset.samples), self.num_workers)
        self.skipped += [{"split": split, "name": name, "error": error} for name, error in errors.items()]
        if len(self.skipped) > self.skip_broken:
            found = "\n".join(sample["error"] for sample in self.skipped[:5])
            raise UserError(
                f"{len(self.skipped)} samples cannot be read, but data.skip_broken allows {self.skip_broken}. The "
                f"first are:\n{found}"
            )
        for name, error in errors.items():
            rank_zero_only(print)(f"warning: skipped {name} of the {split} split: {error}", file=sys.stderr)

    def resume_at(self, epoch: int, batches: int) -> None:
        """Start training in the middle of an epoch, as a resumed run does. Call it before `train_dataloader`.

        Args:
            epoch: The first epoch.
            batches: Number of its batches per device that are done already. They are left out.
        """
        self._first_epoch, self._batches_done = epoch, batches

    def train_dataloader(self) -> DataLoader[Any]:
        """Return shuffled batches of augmented samples. The last batch is dropped if it is incomplete."""
        dataset = self.dataset("train")
        sampler = TrainingSampler(dataset, epoch=self._first_epoch, start=self._batches_done * self.batch_size)
        if len(sampler) < self.batch_size:
            raise UserError(
                f"batch_size={self.batch_size}, but the training split has only {len(sampler)} images per device. "
                f"Set data.batch_size to {len(sampler)} or less."
            )
        return DataLoader(
            dataset,
            self.batch_size,
            sampler=sampler,
            drop_last=True,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=own_generator(),
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """Return single samples of the validation split, not augmented."""
        return evaluation_loader(self.dataset("val"), self.num_workers)

    def test_dataloader(self) -> DataLoader[Any]:
        """Return single samples of the test split, not augmented."""
        return evaluation_loader(self.dataset("test"), self.num_workers)

    def folder(self, *parts: str | Path) -> Path:
        """Return a folder below `root`; raises UserError with `source` if it does not exist."""
        path = self.root.joinpath(*parts)
        if not path.is_dir():
            raise UserError(f"{path}: no such folder (data.root is {self.root}).\n{self.source}")
        return path


def evaluation_loader(dataset: Dataset[Any], num_workers: int) -> DataLoader[Any]:
    """Return a loader that yields each sample on exactly one device, one per step, without a batch axis.

    A sample alone in its step is neither resized nor padded to the size of others, and no metric depends on which
    samples share a batch.

    Args:
        dataset: Samples of any sizes.
        num_workers: Processes that read them; 0 reads in this process.

    Raises:
        UserError: There are fewer samples than devices.
    """
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=evaluation_sampler(dataset),  # type: ignore[arg-type]
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
        generator=own_generator(),
    )


def own_generator() -> torch.Generator:
    """Return a generator for a loader, which else draws its workers' seed from the global one.

    Then the random numbers of the training, such as dropout's, would depend on how often data was iterated over.
    """
    return torch.Generator().manual_seed(torch.initial_seed())


def images_in(folder: str | Path, suffix: str = "") -> dict[str, Path]:
    """Return the image files directly in a folder, by file name without extension.

    Args:
        folder: An existing folder.
        suffix: Keep only names that end with this, and remove it from them.

    Raises:
        UserError: Two files have the same name.
    """
    found: dict[str, Path] = {}
    for path in sorted(Path(folder).iterdir()):
        if is_image(path) and path.stem.endswith(suffix):
            other = found.setdefault(path.stem.removesuffix(suffix), path)
            if other != path:
                raise UserError(f"{other} and {path.name} have the same name; keep only one of them")
    return found


def pair(images: Mapping[str, str | Path], masks: Mapping[str, str | Path], where: str) -> list[Sample]:
    """Pair images and label images by name.

    Args:
        images: Image files by name.
        masks: Label images by name.
        where: The folders, for error messages.

    Returns:
        Samples, sorted by name.

    Raises:
        UserError: There are no images, or files without a partner.
    """
    unpaired = sorted(images.keys() ^ masks.keys())
    if unpaired:
        files = join((images.get(name) or masks[name] for name in unpaired), limit=5)
        raise UserError(
            f"{where}: {len(unpaired)} of {len(images.keys() | masks.keys())} samples lack either the image or the "
            f"label image: found only {files}. Add the missing files, or remove these."
        )
    if not images:
        raise UserError(f"{where}: no images; expected at least one image and its label image")
    return [Sample(Path(images[name]), Path(masks[name]), name) for name in sorted(images)]
