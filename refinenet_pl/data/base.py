"""The data module that all datasets share: splits, loaders, and checks before training starts."""

import re
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision.transforms import v2

from refinenet_pl.archive_paths import AnyPath, compressed_tars, data_root
from refinenet_pl.data.broken import split_readable
from refinenet_pl.data.checks import check_equal_sizes, check_labels, check_names, check_overlap
from refinenet_pl.data.classes import Classes
from refinenet_pl.data.dataset import Sample, SegmentationDataset
from refinenet_pl.data.decoded_cache import decoded_cache
from refinenet_pl.data.labels import LabelIds, LabelMap, changed_labels, plain_labels
from refinenet_pl.data.lists import own_samples
from refinenet_pl.data.loaders import TrainingLoader, evaluation_loader, own_generator
from refinenet_pl.data.presence import presence
from refinenet_pl.data.sampling import TrainingSampler
from refinenet_pl.data.split_errors import AbsentSplit
from refinenet_pl.data.splits import SPLITS, Split, divide, halves_of
from refinenet_pl.data.transforms import training_transform
from refinenet_pl.errors import UserError
from refinenet_pl.files import expand
from refinenet_pl.text import join


class SegmentationDataModule(pl.LightningDataModule):
    """A dataset with its splits and loaders.

    A subclass defines `classes`, `source` and `samples`, and `encoding` if its label images hold other values than
    class indices.

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
        transforms: Own augmentation of training samples: transforms of torchvision.transforms.v2, applied in order
            after those above. Pixels that they fill are ignored.
        label_ids: Merges, renames or ignores classes: the new class of each class or stored value that changes; void or
            null ignores its pixels. If the label images are RGB images: the class of each color, such as '#ff8000'.
        train_list: List file of own training samples: in each line a sample's name, or the paths of an image and its
            label image below the root. A relative path is looked up in the current folder, then in the root. None: the
            dataset's own split.
        val_list: The same for validation samples.
        test_list: The same for test samples.
        split: Divides the training samples of the dataset, by fractions or into folds: see `Split`. None: the dataset's
            own split.
        skip_broken: Number of samples that may be left out because they cannot be read. With more than 0, all samples
            are read once before training or evaluation starts, and those left out are named. The default is 0: the
            first such sample stops the run.
        eval_batch_size: Samples per device and evaluation step. Neighbors of the same size go through the network
            together, which is faster for small images on a GPU and takes more memory. The figures are the same.
        group_pattern: Regular expression for the part of a sample's name that dependent images share, such as the drive
            in `[^_]+`. The intervals of metrics count such images less. The part is what the first parentheses match,
            or else the whole match, from the start of the name. None: the dataset's own, or independent images.
        select_half: Let the validations within `fit`, which choose the best checkpoint, use one half of the validation
            samples, and all other evaluations the other half. So the metrics of the best checkpoint are not those that
            it was chosen by. Groups stay whole (`group_pattern`); a single group is cut in the middle; samples without
            group take turns.
        cache_dir: Folder for decoded samples, 4 bytes per pixel, from which a run reads them instead of decoding files
            again. The first run writes them. Use a local disk. None: no cache.

    Attributes:
        skipped: The samples that `setup` left out: "split", "name" and "error" of each.
    """

    classes: Classes
    source: ClassVar[str]
    """Where to get the dataset, and what its folder must contain. Error messages end with it."""
    terms: ClassVar[str] = "Unknown."
    """Terms of use of the data. The model card of networks that are trained on it repeats them."""
    groups: ClassVar[str | None] = None
    """The `group_pattern` of the dataset; None for images that do not depend on each other."""
    official_counts: ClassVar[Mapping[str, int]] = {}
    """Number of samples of each split whose labels are public."""

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
        transforms: Sequence[v2.Transform] = (),
        label_ids: dict[str | int, str | int | None] | None = None,
        train_list: str | Path | None = None,
        val_list: str | Path | None = None,
        test_list: str | Path | None = None,
        split: Split | None = None,
        skip_broken: int = 0,
        eval_batch_size: int = 1,
        group_pattern: str | None = None,
        select_half: bool = False,
        cache_dir: str | Path | None = None,
    ) -> None:
        super().__init__()
        for name, size in (("batch_size", batch_size), ("eval_batch_size", eval_batch_size)):
            if size < 1:
                raise UserError(f"data.{name} is {size}; expected 1 or more")
        self.root = expand(root, "data.root")
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.skip_broken = skip_broken
        self._group_pattern = _compiled(self.groups if group_pattern is None else group_pattern)
        self.select_half = select_half
        self.cache_dir = None if cache_dir is None else expand(cache_dir, "data.cache_dir")
        self.skipped: list[dict[str, str]] = []
        self._augmentation: dict[str, Any] = {
            "crop_size": crop_size,
            "scale_range": scale_range,
            "short_side": short_side,
            "flip": flip,
            "color_jitter": color_jitter,
            "pad_color": pad_color,
            "transforms": transforms,
        }
        self.lists = {"train": train_list, "val": val_list, "test": test_list}
        self.split = split
        self._label_ids = label_ids
        if label_ids:
            self.classes = self.configured_classes(label_ids=label_ids)
        self._datasets: dict[str, SegmentationDataset] = {}
        self._read_splits: set[str] = set()
        self._checked = False
        self._first_epoch = self._batches_done = 0

    def __init_subclass__(cls) -> None:
        """Refuse a subclass that was written for the name that `encoding` had before."""
        super().__init_subclass__()
        if "label_ids" in vars(cls):
            raise TypeError(f"{cls.__name__}.label_ids: this attribute is now named encoding; rename it")

    @classmethod
    def configured_classes(cls, label_ids: LabelIds | None = None, **init_args: Any) -> Classes:
        """Return the classes that a configuration of this class has. Nothing is read.

        Args:
            label_ids: See the class.
            **init_args: The other arguments of the class. Here they do not matter; a subclass may read them.

        Raises:
            UserError: `label_ids` names an unknown class.
        """
        if not label_ids:
            return cls.classes
        encoding: Any = cls.encoding
        if encoding is SegmentationDataModule.encoding:
            encoding = None
        # An encoding that is a property is only known once files are read.
        known = encoding is None or isinstance(encoding, Mapping)
        return changed_labels(plain_labels(cls.classes, encoding if known else None), label_ids, known).classes

    @property
    def encoding(self) -> Mapping[int, int] | None:
        """The class index, or IGNORE_INDEX, of each value in the label images. None if they hold these already."""
        return None

    @property
    def label_map(self) -> LabelMap:
        """The classes, and what the values of the label images mean."""
        labels = plain_labels(type(self).classes, self.encoding)
        return changed_labels(labels, self._label_ids) if self._label_ids else labels

    @cached_property
    def tree(self) -> AnyPath:
        """The root, where files are looked up on disk, then in the zip and tar archives in it."""
        return data_root(self.root)

    def samples(self, split: str) -> list[Sample]:
        """List a split, always in the same order.

        Args:
            split: "train", "val" or "test".

        Raises:
            UserError: Files are missing, or the split has no public labels.
        """
        raise NotImplementedError

    def convert(self) -> None:
        """Convert raw files into the layout that `samples` reads; `refinenet data prepare` calls it.

        Files that exist are kept, so that it can be interrupted. Here there is nothing to convert.
        """

    def dataset(self, split: str) -> SegmentationDataset:
        """Return the dataset of a split; only "train" is augmented.

        Raises:
            UserError: See `samples`; or two samples have one name, or a name cannot be a file name.
        """
        if split not in self._datasets:
            samples = self.chosen_samples(split)
            check_names(samples, split)
            transform = training_transform(**self._augmentation) if split == "train" else None
            dataset = self._make_dataset(samples, transform)
            if self.skip_broken == 0:  # else `setup` leaves out broken samples first
                self._use_cache(dataset)
            self._datasets[split] = dataset
        return self._datasets[split]

    def _use_cache(self, dataset: SegmentationDataset) -> None:
        if self.cache_dir is not None:
            dataset.cache = decoded_cache(self.cache_dir, dataset)

    def chosen_samples(self, split: str) -> list[Sample]:
        """List a split: by the user's own list if there is one, else by `split`, else by the dataset's own split.

        Raises:
            UserError: See `samples`; or a list names unknown samples, or the samples cannot be divided.
        """
        path = self.lists[split]
        if path is not None:
            found = expand(path, f"data.{split}_list")
            in_root = self.tree / str(path)
            return own_samples(in_root if not found.is_file() and in_root.is_file() else found, self._known, self.tree)
        if self.split is not None and self.split.parts_of(split):
            samples, part_of = self._divided
            parts = self.split.parts_of(split)
            return [sample for sample, part in zip(samples, part_of, strict=True) if part in parts]
        return self.samples(split)

    @cached_property
    def _divided(self) -> tuple[list[Sample], list[int]]:
        """The samples that `split` divides, and the part of each."""
        assert self.split is not None
        samples = self.samples("train")
        check_names(samples, "train")
        dataset = self._make_dataset(samples)
        classes = presence(dataset, len(self.classes)) if self.split.stratify else np.zeros((len(samples), 0), bool)
        return samples, divide([sample.name for sample in samples], classes, self.split)

    @cached_property
    def _known(self) -> dict[str, Sample]:
        """The samples of all splits of the dataset, by name."""
        known: dict[str, Sample] = {}
        errors = []
        for split in SPLITS:
            try:
                known = {sample.name: sample for sample in self.samples(split)} | known
            except UserError as error:  # such as a split without public labels
                errors.append(error)
        if not known:
            raise errors[0]
        return known

    def _make_dataset(self, samples: Sequence[Sample], transform: v2.Transform | None = None) -> SegmentationDataset:
        label_map = self.label_map
        return SegmentationDataset(samples, len(label_map.classes), label_map.encoding, transform, label_map.colored)

    def group_of(self, name: str) -> str:
        """Return the group of the sample with this name; empty for a sample that depends on no other."""
        match = self._group_pattern and self._group_pattern.match(name)
        return "" if not match else match[min(match.re.groups, 1)] or ""

    def setup(self, stage: str) -> None:
        """List the splits that this stage needs and check them, so that mistakes are reported before it starts.

        Raises:
            UserError: See `dataset` and `check_training_data`; or more samples than `skip_broken` cannot be read.
        """
        splits = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}.get(stage, ())
        for split in splits:
            dataset = self.dataset(split)
            if isinstance(dataset, SegmentationDataset) and self.skip_broken > 0 and split not in self._read_splits:
                self._leave_out_broken(split, dataset)
        if stage == "fit":
            self.check_training_data()

    def check_training_data(self) -> None:
        """Check the training and validation samples once, on a sample of their label images.

        Raises:
            UserError: A training image is also a validation image, or label images are wrong: see `check_labels`.
        """
        training, validation = self.dataset("train"), self.dataset("val")
        if self._checked or not (
            isinstance(training, SegmentationDataset) and isinstance(validation, SegmentationDataset)
        ):
            return  # a subclass can have datasets of its own
        check_overlap(training.samples, validation.samples)
        check_labels(training, self.classes.names, "training")
        check_labels(validation, self.classes.names, "validation")
        if self._augmentation["transforms"]:
            check_equal_sizes(training)
        self._checked = True

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
        self._use_cache(dataset)
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
        return TrainingLoader(
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
        """Return lists of samples of the validation split, or of the half that `select_half` says, not augmented."""
        dataset: Dataset[Any] = self.dataset("val")
        if self.select_half:
            names = [sample.name for sample in self.dataset("val").samples]
            chooses = self.trainer is not None and self.trainer.state.fn == "fit"
            wanted = 0 if chooses else 1
            halves = halves_of([self.group_of(name) for name in names])
            dataset = Subset(dataset, [index for index, half in enumerate(halves) if half == wanted])
        return evaluation_loader(dataset, self.num_workers, self.eval_batch_size)

    def test_dataloader(self) -> DataLoader[Any]:
        """Return lists of samples of the test split, not augmented."""
        return evaluation_loader(self.dataset("test"), self.num_workers, self.eval_batch_size)

    def folder(self, *parts: str) -> AnyPath:
        """Return a folder below `root`, on disk or in an archive.

        Raises:
            AbsentSplit: It does not exist. The message ends with `source`.
        """
        path = self.tree.joinpath(*parts)
        if not path.is_dir():
            packed = [file.name for file in compressed_tars(self.root)]
            advice = f" The root has {join(packed, limit=5)}: see refinenet data prepare." if packed else ""
            raise AbsentSplit(f"{path}: no such folder (data.root is {self.root}).{advice}\n{self.source}")
        return path


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    try:
        return None if pattern is None else re.compile(pattern)
    except re.error as error:
        raise UserError(f"data.group_pattern is {pattern!r}; expected a regular expression: {error}") from error
