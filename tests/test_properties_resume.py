"""Properties of continued trainings: settings, samples, steps and rates, against an uninterrupted training."""

import copy
import itertools
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from refinenet_pl.cli.continuation import APPLIED, BETWEEN_EPOCHS, UNRELATED, check_changes, plan_continuation
from refinenet_pl.data.sampling import TrainingSampler
from refinenet_pl.errors import UserError
from refinenet_pl.runs import RunFolder
from refinenet_pl.weights.checkpoint import CONFIG_KEY

SAVED: dict[str, Any] = {
    "seed_everything": 0,
    "experiment": "tiny",
    "runs": "runs",
    "pictures": 4,
    "trainer": {
        "devices": "auto",
        "max_epochs": 10,
        "max_time": None,
        "limit_train_batches": 1.0,
        "accumulate_grad_batches": 1,
        "gradient_clip_val": None,
        "logger": {"class_path": "pytorch_lightning.loggers.CSVLogger", "init_args": {"save_dir": "logs"}},
        "callbacks": [{"class_path": "refinenet_pl.training.ema.EMA", "init_args": {"decay": 0.999}}],
    },
    "checkpoint": {"monitor": "val/miou", "dirpath": None},
    "model": {
        "network": {
            "class_path": "segmentation_models_pytorch.Unet",
            "init_args": {
                "encoder_name": "resnet18",
                "encoder_weights": None,
                "decoder_channels": [256, 128],
                "aux_params": {"classes": 11},
            },
            "dict_kwargs": {"output_stride": 16},
        },
        "loss": {
            "class_path": "refinenet_pl.training.losses.WeightedSum",
            "init_args": {"losses": [{"class_path": "refinenet_pl.training.losses.Dice"}], "weights": [1.0]},
        },
        "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "momentum": 0.9, "nesterov": False}},
        "schedule": {"class_path": "refinenet_pl.training.schedules.Poly", "init_args": {"power": 0.9}},
        "inference": {"scales": [1.0], "flip": False},
        "batch_norm": "train",
    },
    "data": {
        "class_path": "refinenet_pl.data.CamVidDataModule",
        "init_args": {"root": "camvid", "batch_size": 8, "num_workers": 4, "crop_size": [32, 32], "flip": True},
    },
}
"""The configuration in a checkpoint."""


def leaves(value: Any, key: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all plain values."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    return [key] if items is None else [leaf for name, inner in items for leaf in leaves(inner, (*key, name))]


FREE = [("model", "network", "init_args", "aux_params"), ("model", "network", "dict_kwargs"), ("model", "loss")]
NEW = [*((*FREE[0], name) for name in ("dropout", "pooling")), (*FREE[1], "depth"), (*FREE[2], "dict_kwargs")]
"""Names that the user chooses, and that the checkpoint does not have."""


def different(value: Any) -> st.SearchStrategy[Any]:
    """Values that are another setting than a value; a class of the same name in another package is one too."""
    if isinstance(value, str) and "." in value:
        return st.just(f"another_package.{value.rpartition('.')[2]}")
    # A number and its text are one setting: no value of SAVED is the text of one of these.
    others = [None, True, False, 0, 1, 1.0, 2, 0.25, "text", [1, 2], {"a": 1}]
    return st.sampled_from([other for other in others if repr(other) != repr(value) and str(other) != str(value)])


@st.composite
def changed(draw: st.DrawFn) -> tuple[dict[str, Any], set[str]]:
    """A configuration with some changes, and the keys of the changes."""
    config = copy.deepcopy(SAVED)
    keys = draw(st.lists(st.sampled_from([*leaves(SAVED), *NEW]), max_size=4, unique=True))
    for key in keys:
        section = config
        for name in key[:-1]:
            section = section[name]
        section[key[-1]] = draw(different(section[key[-1]])) if key not in NEW else {"a": 1}
    return config, {".".join(map(str, key)) for key in keys}


def below(key: str, sections: tuple[str, ...]) -> bool:
    return any(f"{key}.".startswith(f"{section}.") for section in sections)


def with_value(key: str, value: Any) -> tuple[dict[str, Any], set[str]]:
    config = copy.deepcopy(SAVED)
    *sections, last = key.split(".")
    section = config
    for name in sections:
        section = section[name]
    section[last] = value
    return config, {key}


@given(changed(), st.booleans())
@example(with_value("trainer.limit_train_batches", 1), True)
@example(with_value("model.network.init_args.aux_params.dropout", 0.5), False)
@example(with_value("model.network.dict_kwargs.depth", 3), False)
@example(with_value("model.loss.dict_kwargs", {"a": 1}), False)
@example(with_value("model.optimizer.class_path", "another_package.SGD"), False)
def test_each_change_is_applied_refused_or_unrelated(new, in_epoch):
    config, keys = new
    related = {key for key in keys if not below(key, UNRELATED)}
    averaging = below("trainer.callbacks", tuple(keys)) or any(below(key, ("trainer.callbacks",)) for key in keys)
    refused = {key for key in related if not below(key, APPLIED)} | ({"trainer.callbacks"} if averaging else set())
    between_epochs = related & {*BETWEEN_EPOCHS}
    progress = {"current": {"processed": 2, "ready": 2}, "is_last_batch": not in_epoch}
    loop = {"epoch_loop.batch_progress": progress, "epoch_progress": {"current": {"ready": 1}}}
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder, "last.ckpt")
        content = {CONFIG_KEY: yaml.safe_dump(SAVED), "global_step": 2, "loops": {"fit_loop": loop}}
        torch.save(content | {"optimizer_states": [], "lr_schedulers": []}, checkpoint)
        if refused or (in_epoch and between_epochs):
            with pytest.raises(UserError) as error:
                plan_continuation(checkpoint, config, RunFolder(Path(folder, "new")), named=False)
            assert all(key in str(error.value) for key in refused or between_epochs)
        else:
            start = plan_continuation(checkpoint, config, RunFolder(Path(folder, "new")), named=False)
            assert (start.changes.keys(), start.step) == (related, 2)
        assert [file.name for file in Path(folder).iterdir()] == ["last.ckpt"]


OPTIONS = [key for key in leaves(SAVED) if key[:-1] not in FREE and key[-1] not in ("class_path", 0, 1)]
"""Settings, one of which an earlier version may not have."""


@given(st.lists(st.sampled_from(OPTIONS), unique=True))
def test_options_of_a_later_version_are_no_change(keys):
    saved = copy.deepcopy(SAVED)
    for *sections, last in keys:
        section = saved
        for name in sections:
            section = section[name]
        del section[last]
    assert check_changes(saved, SAVED, Path("last.ckpt")) == {}


@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 9), st.integers(0, 12), st.integers(0, 3), st.data())
def test_head_and_tail_are_the_uninterrupted_order(count, world, batch_size, stop, epoch, data):
    seed = data.draw(st.integers(0, 2**63))

    def sampler(rank: int, **position: int) -> TrainingSampler:
        torch.manual_seed(seed)
        return TrainingSampler(range(count), world, rank, **position)

    whole: list[list[list[int]]] = []
    for rank in range(world):
        uninterrupted = sampler(rank)
        whole.append([])
        for number in range(epoch + 3):
            uninterrupted.set_epoch(number)
            whole[-1].append(list(uninterrupted))
    # An epoch has each sample once. Its first ones come again until all processes have the same number.
    per_rank = -(-count // world)
    for number in range(epoch + 3):
        drawn = list(itertools.chain(*zip(*(ranks[number] for ranks in whole), strict=True)))
        assert sorted(drawn[:count]) == list(range(count))
        assert drawn[count:] == list(itertools.islice(itertools.cycle(drawn[:count]), count, per_rank * world))
        assert {(draw.seed, draw.epoch) for draw in drawn} == {(seed, number)}
    done = min(stop * batch_size, per_rank)
    for rank, epochs in enumerate(whole):
        resumed = sampler(rank, epoch=epoch, start=done)
        assert len(resumed) == per_rank
        assert epochs[epoch][:done] + list(resumed) == epochs[epoch]
        for number in (epoch, epoch + 1, epoch + 2):
            resumed.set_epoch(number)
            assert list(resumed) == epochs[number][done if number == epoch else 0 :]
