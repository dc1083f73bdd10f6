"""The task in real fits: its input, its losses, and the figures that it logs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import segmentation_models_pytorch as smp
import torch
from helpers.probes import Losses, Validations, losses_of
from helpers.tiny_fit import (
    CLASSES,
    MEAN,
    SQUARE,
    STD,
    TinyData,
    count_by_hand,
    tiny_network,
    tiny_sample,
    tiny_task,
    tiny_trainer,
)
from torch import nn

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.errors import UserError
from refinenet_pl.evaluation import mean_iou
from refinenet_pl.evaluation.inference import full_resolution_logits
from refinenet_pl.training.task import SegmentationTask, resize_labels


def test_logged_figures_are_those_of_the_whole_split_in_every_epoch(tmp_path: Path):
    seen = Validations()
    tiny_trainer(tmp_path, max_epochs=3, num_sanity_val_steps=2, callbacks=[seen]).fit(
        tiny_task(), datamodule=TinyData()
    )
    assert [len(pairs) for pairs in seen.pairs] == [2, 3, 3, 3]
    assert seen.left_by_sanity_check == {}
    for epoch in (1, 2, 3):
        matrix = seen.matrix(epoch)
        hits, unions = matrix.diagonal(), matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
        logged = seen.logged[epoch]
        assert logged["val/miou"] == pytest.approx((hits / unions).mean(), abs=1e-6)
        assert logged["val/pixel_accuracy"] == pytest.approx(hits.sum() / matrix.sum(), abs=1e-6)
        assert logged["val/mean_accuracy"] == pytest.approx((hits / matrix.sum(1)).mean(), abs=1e-6)
        per_class = [logged[f"val/iou/{name}"] for name in CLASSES.names]
        np.testing.assert_allclose(per_class, hits / unions, atol=1e-6)


def test_mean_iou_is_not_the_mean_over_images(tmp_path: Path):
    seen = Validations()
    tiny_trainer(tmp_path, callbacks=[seen]).validate(tiny_task(), datamodule=TinyData(), verbose=False)
    per_image = [mean_iou(torch.from_numpy(count_by_hand([pair], len(CLASSES)))) for pair in seen.pairs[0]]
    whole = mean_iou(torch.from_numpy(seen.matrix(0)))
    assert abs(np.mean(per_image) - whole) > 1e-4
    assert seen.logged[0]["val/miou"] == pytest.approx(whole, abs=1e-6)


def test_testing_logs_the_same_figures_under_its_own_name(tmp_path: Path):
    task, data, trainer = tiny_task(), TinyData(), tiny_trainer(tmp_path)
    (validated,) = trainer.validate(task, datamodule=data, verbose=False)
    (tested,) = trainer.test(task, datamodule=data, verbose=False)
    assert tested == {name.replace("val/", "test/"): value for name, value in validated.items()}


def test_predictions_have_the_size_of_their_images_whatever_it_is(tmp_path: Path):
    seen = Validations()
    tiny_trainer(tmp_path, callbacks=[seen]).validate(tiny_task(), datamodule=TinyData(), verbose=False)
    assert [(p.shape, p.dtype) for p, _ in seen.pairs[0]] == [
        (size, np.uint8) for size in [(65, 97), (64, 64), (48, 33)]
    ]


def test_pixels_are_scaled_to_0_1_then_the_mean_goes_off_and_the_deviation_divides():
    image = tiny_sample(SQUARE, seed=0)["image"][None]
    expected = (image.numpy() / 255 - np.reshape(MEAN, (1, 3, 1, 1))) / np.reshape(STD, (1, 3, 1, 1))
    np.testing.assert_allclose(tiny_task().normalize(image), expected, atol=1e-6)
    np.testing.assert_allclose(tiny_task(mean=None, std=None).normalize(image), image.numpy() / 255, atol=1e-7)


def test_a_network_that_takes_only_multiples_of_its_stride_predicts_any_size_without_a_shift():
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


def test_an_image_that_fits_reaches_the_network_as_it_is():
    network = smp.FPN("resnet18", encoder_weights=None, classes=2).eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(full_resolution_logits(network, image), network(image))


def test_a_batch_of_nothing_but_void_trains_on_with_gradients_of_zero(tmp_path: Path):
    class Gradients(pl.Callback):
        def on_after_backward(self, trainer, pl_module):
            for name, parameter in pl_module.network.named_parameters():
                assert parameter.grad is not None, name
                assert not parameter.grad.any(), name

    void = [tiny_sample(SQUARE, seed, values=(IGNORE_INDEX,)) for seed in range(2)]
    losses = Losses()
    task = tiny_task()
    trainer = tiny_trainer(tmp_path, callbacks=[losses, Gradients()], limit_val_batches=0)
    trainer.fit(task, datamodule=TinyData(train=void))
    assert losses.seen == [0.0]
    assert all(parameter.isfinite().all() for parameter in task.parameters())


def test_the_loss_at_the_labels_resolution_is_that_of_the_upsampled_logits(tmp_path: Path):
    (loss,) = losses_of(tmp_path, tiny_task(), max_steps=1)
    task, batch = tiny_task(), first_batch()
    logits = task.network(task.normalize(batch["image"]))
    assert logits.shape[-2:] == batch["mask"].shape[-2:]
    assert loss == pytest.approx(
        float(nn.functional.cross_entropy(logits, batch["mask"].long(), ignore_index=IGNORE_INDEX))
    )


def test_the_loss_at_the_logits_resolution_takes_the_label_under_each_logits_centre(tmp_path: Path):
    (loss,) = losses_of(tmp_path, tiny_task(loss_resolution="logits"), max_steps=1)
    task, batch = tiny_task(), first_batch()
    logits = task.network.forward_logits(task.normalize(batch["image"]))  # type: ignore[operator]
    assert logits.shape[-2:] == (16, 16)
    labels = batch["mask"][:, 2::4, 2::4].long()  # a logit's center lies between pixels 1 and 2 of its four
    assert loss == pytest.approx(float(nn.functional.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX)))


def first_batch() -> dict[str, Any]:
    """The batch that a fit with the seed of `tiny_task` starts with."""
    torch.manual_seed(0)
    return next(iter(TinyData().train_dataloader()))


@pytest.mark.parametrize("size", [(5, 7), (13, 9), (2, 3)])
def test_resized_labels_are_those_under_the_centres_and_never_mixed(size: tuple[int, int]):
    labels = torch.from_numpy(np.random.default_rng(0).choice([0, 7, 254, IGNORE_INDEX], (2, 11, 13)))
    rows, columns = (
        np.floor((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size, (11, 13), strict=True)
    )
    resized = resize_labels(labels, torch.Size(size))
    assert resized.dtype == torch.int64
    np.testing.assert_array_equal(resized, labels.numpy()[:, rows][:, :, columns])


def test_a_loss_at_the_logits_needs_a_network_that_gives_them():
    with pytest.raises(UserError, match=r"FPN has no forward_logits.*loss_resolution='label'"):
        tiny_task(network=smp.FPN("resnet18", encoder_weights=None, classes=4), loss_resolution="logits")


def test_a_task_needs_one_name_and_one_color_for_each_class():
    with pytest.raises(UserError, match="0 class_names"):
        SegmentationTask(tiny_network())
    with pytest.raises(UserError, match="2 class_names, 1 class_colors"):
        SegmentationTask(tiny_network(), class_names=["a", "b"], class_colors=[(0, 0, 0)])
