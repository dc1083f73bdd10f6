"""The task in real fits: its input, its losses, and the metrics that it logs."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import segmentation_models_pytorch as smp
import torch
from helpers.probes import Losses, Validations, copied, fit_losses, same
from helpers.tiny_fit import (
    CLASSES,
    MEAN,
    PREPROCESSING,
    SQUARE,
    STD,
    TinyData,
    count_by_hand,
    tiny_network,
    tiny_sample,
    tiny_task,
    tiny_trainer,
)
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.errors import UserError
from refinenet_pl.evaluation import mean_iou
from refinenet_pl.evaluation.inference import full_resolution_logits
from refinenet_pl.preprocessing import Preprocessing
from refinenet_pl.training.task import SegmentationTask
from refinenet_pl.training.validation_loss import resize_target


def test_logs_metrics_of_the_whole_split(tmp_path: Path):
    seen = Validations()
    tiny_trainer(tmp_path, max_epochs=3, num_sanity_val_steps=2, callbacks=[seen]).fit(
        tiny_task(), datamodule=TinyData()
    )
    assert [len(pairs) for pairs in seen.pairs] == [2, 3, 3, 3]
    assert seen.logged_by_sanity_check == {}
    for epoch in (1, 2, 3):
        matrix = seen.matrix(epoch)
        hits, unions = matrix.diagonal(), matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
        logged = seen.logged[epoch]
        assert logged["val/miou"] == pytest.approx((hits / unions).mean(), abs=1e-6)
        assert logged["val/pixel_accuracy"] == pytest.approx(hits.sum() / matrix.sum(), abs=1e-6)
        assert logged["val/mean_accuracy"] == pytest.approx((hits / matrix.sum(1)).mean(), abs=1e-6)
        per_class = [logged[f"val/iou/{name}"] for name in CLASSES.names]
        np.testing.assert_allclose(per_class, hits / unions, atol=1e-6)


def test_mean_iou_is_not_a_mean_over_images(tmp_path: Path):
    seen = Validations()
    tiny_trainer(tmp_path, callbacks=[seen]).validate(tiny_task(), datamodule=TinyData(), verbose=False)
    per_image = [mean_iou(torch.from_numpy(count_by_hand([pair], len(CLASSES)))) for pair in seen.pairs[0]]
    whole = mean_iou(torch.from_numpy(seen.matrix(0)))
    assert abs(np.mean(per_image) - whole) > 1e-4
    assert seen.logged[0]["val/miou"] == pytest.approx(whole, abs=1e-6)


def test_test_logs_under_its_own_name(tmp_path: Path):
    task, data, trainer = tiny_task(), TinyData(), tiny_trainer(tmp_path)
    (validated,) = trainer.validate(task, datamodule=data, verbose=False)
    (tested,) = trainer.test(task, datamodule=data, verbose=False)
    assert tested == {name.replace("val/", "test/"): value for name, value in validated.items()}


def test_predictions_have_the_image_size(tmp_path: Path):
    seen = Validations()
    tiny_trainer(tmp_path, callbacks=[seen]).validate(tiny_task(), datamodule=TinyData(), verbose=False)
    assert [(p.shape, p.dtype) for p, _ in seen.pairs[0]] == [
        (size, np.uint8) for size in [(65, 97), (64, 64), (48, 33)]
    ]


def test_images_are_normalized():
    image = tiny_sample(SQUARE, seed=0)["image"][None]
    expected = (image.numpy() / 255 - np.reshape(MEAN, (1, 3, 1, 1))) / np.reshape(STD, (1, 3, 1, 1))
    np.testing.assert_allclose(tiny_task().normalize(image), expected, atol=1e-6)
    bare = tiny_task(preprocessing=replace(PREPROCESSING, mean=None, std=None))
    np.testing.assert_allclose(bare.normalize(image), image.numpy() / 255, atol=1e-7)


def test_padding_does_not_shift_predictions():
    torch.manual_seed(0)
    network = smp.FPN("resnet18", encoder_weights=None, classes=len(CLASSES))
    assert network.requires_divisible_input_shape
    task = tiny_task(network=network).eval()
    image = tiny_sample((65, 97), seed=0)["image"][None]
    padded = np.empty((1, 3, 96, 128), np.float32)
    padded[:] = 255 * np.reshape(MEAN, (1, 3, 1, 1))
    padded[..., :65, :97] = image
    with torch.no_grad():
        logits = task(image)
        expected = network(task.normalize(torch.from_numpy(padded)))[..., :65, :97]
    assert logits.shape == (1, len(CLASSES), 65, 97)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_fitting_images_are_not_padded():
    network = smp.FPN("resnet18", encoder_weights=None, classes=2).eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(full_resolution_logits(network, image), network(image))


def test_ignored_batch_gives_zero_gradients(tmp_path: Path):
    class Gradients(pl.Callback):
        def on_after_backward(self, trainer, pl_module):
            for name, parameter in pl_module.network.named_parameters():
                assert parameter.grad is not None, name
                assert not parameter.grad.any(), name

    ignored = [tiny_sample(SQUARE, seed, values=(IGNORE_INDEX,)) for seed in range(2)]
    losses = Losses()
    task = tiny_task()
    trainer = tiny_trainer(tmp_path, callbacks=[losses, Gradients()], limit_val_batches=0)
    trainer.fit(task, datamodule=TinyData(train=ignored))
    assert losses.seen == [0.0]
    assert all(parameter.isfinite().all() for parameter in task.parameters())


def test_loss_at_label_resolution(tmp_path: Path):
    (loss,) = fit_losses(tmp_path, tiny_task(), max_steps=1)
    task, batch = tiny_task(), first_batch()
    logits = task.network(task.normalize(batch["image"]))
    assert logits.shape[-2:] == batch["mask"].shape[-2:]
    assert loss == pytest.approx(
        float(nn.functional.cross_entropy(logits, batch["mask"].long(), ignore_index=IGNORE_INDEX))
    )


def test_loss_at_logits_resolution(tmp_path: Path):
    (loss,) = fit_losses(tmp_path, tiny_task(loss_resolution="logits"), max_steps=1)
    task, batch = tiny_task(), first_batch()
    logits = task.network.forward_logits(task.normalize(batch["image"]))  # type: ignore[operator]
    assert logits.shape[-2:] == (16, 16)
    labels = batch["mask"][:, 2::4, 2::4].long()  # a logit's center lies between pixels 1 and 2 of its four
    assert loss == pytest.approx(float(nn.functional.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX)))


def first_batch() -> dict[str, Any]:
    """The first batch of a fit with the seed of `tiny_task`."""
    torch.manual_seed(0)
    return next(iter(TinyData().train_dataloader()))


@pytest.mark.parametrize("size", [(5, 7), (13, 9), (2, 3)])
def test_resized_target_is_nearest(size: tuple[int, int]):
    labels = torch.from_numpy(np.random.default_rng(0).choice([0, 7, 254, IGNORE_INDEX], (2, 11, 13)))
    rows, columns = (
        np.floor((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size, (11, 13), strict=True)
    )
    resized = resize_target(labels, torch.Size(size))
    assert resized.dtype == torch.int64
    np.testing.assert_array_equal(resized, labels.numpy()[:, rows][:, :, columns])


def test_logits_loss_needs_forward_logits():
    with pytest.raises(UserError, match=r"FPN has no forward_logits.*loss_resolution='label'"):
        tiny_task(network=smp.FPN("resnet18", encoder_weights=None, classes=4), loss_resolution="logits")


def test_refuses_preprocessing_without_classes():
    with pytest.raises(UserError, match="preprocessing names no classes"):
        SegmentationTask(tiny_network(), Preprocessing(MEAN, STD))


def test_state_dict_holds_only_the_network():
    task = tiny_task()
    assert task.state_dict().keys() == {f"network.{key}" for key in task.network.state_dict()}


def test_pixel_statistics_follow_the_device():
    task = tiny_task().to("meta")
    assert task.segmenter.normalize.mean.device.type == task.segmenter.normalize.std.device.type == "meta"
    assert {parameter.device.type for parameter in task.segmenter.network.parameters()} == {"meta"}


def test_copy_has_its_own_network():
    task = tiny_task()
    copy = deepcopy(task)
    assert copy.segmenter.network is copy.network
    assert copy.segmenter.network is not task.network
    assert copy.segmenter.normalize is copy.normalize


def test_each_image_is_counted_once(tmp_path: Path):
    class Matrices(pl.Callback):
        seen: list[np.ndarray] = []  # noqa: RUF012

        def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
            self.seen.extend(matrix.numpy() for matrix in outputs["confusion_matrices"])

    seen, matrices, task = Validations(), Matrices(), tiny_task()
    tiny_trainer(tmp_path, callbacks=[seen, matrices]).validate(task, datamodule=TinyData(), verbose=False)
    for matrix, pair in zip(matrices.seen, seen.pairs[0], strict=True):
        np.testing.assert_array_equal(matrix, count_by_hand([pair], len(CLASSES)))
    np.testing.assert_array_equal(task.confusion.compute(), seen.matrix(0))


def test_load_from_checkpoint_points_to_load():
    with pytest.raises(UserError, match=r"refinenet_pl\.load\('best\.ckpt'\)"):
        SegmentationTask.load_from_checkpoint("best.ckpt")


def test_load_from_checkpoint_fills_a_network(tmp_path: Path):
    task, checkpoint = tiny_task(), ModelCheckpoint(tmp_path)
    tiny_trainer(tmp_path, callbacks=[checkpoint]).fit(task, datamodule=TinyData())
    loaded = SegmentationTask.load_from_checkpoint(
        checkpoint.best_model_path, network=tiny_network(), preprocessing=PREPROCESSING
    )
    assert same(copied(loaded), copied(task))
