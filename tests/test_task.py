"""The task in real fits: what is logged, which parameters move, which rates they get, and what a checkpoint holds."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import segmentation_models_pytorch as smp
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from tiny_fit import (
    CLASSES,
    MEAN,
    SQUARE,
    STD,
    TinyData,
    count_by_hand,
    sgd,
    tiny_network,
    tiny_sample,
    tiny_task,
    tiny_trainer,
)
from torch import Tensor, nn

from refinenet_pl.data.classes import VOID
from refinenet_pl.errors import UserError
from refinenet_pl.evaluation import mean_iou
from refinenet_pl.evaluation.inference import whole_image
from refinenet_pl.training.callbacks import EMA
from refinenet_pl.training.optimization import make_optimizer
from refinenet_pl.training.schedules import Constant, Poly
from refinenet_pl.training.task import BATCH_NORMS, SegmentationTask, resize_labels


class Rates(pl.Callback):
    """Notes the learning rates of every optimiser step."""

    def __init__(self) -> None:
        self.seen: list[list[float]] = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.seen.append([group["lr"] for group in optimizer.param_groups])


class Losses(pl.Callback):
    """Notes the loss of every training batch."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen.append(float(outputs["loss"]))


class Validations(pl.Callback):
    """Notes the predicted and true labels of every validation, and the figures that were logged for it."""

    def __init__(self) -> None:
        self.pairs: list[list[tuple[np.ndarray, np.ndarray]]] = []
        self.logged: list[dict[str, float]] = []
        self.left_by_sanity_check: dict[str, Tensor] = {}

    def on_train_start(self, trainer, pl_module):
        self.left_by_sanity_check = dict(trainer.callback_metrics)

    def on_validation_start(self, trainer, pl_module):
        self.pairs.append([])

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        self.pairs[-1].append((outputs.numpy(), batch["mask"].numpy()))

    def on_validation_end(self, trainer, pl_module):
        self.logged.append({name: float(value) for name, value in trainer.callback_metrics.items()})

    def matrix(self, validation: int) -> np.ndarray:
        return count_by_hand(self.pairs[validation], len(CLASSES))


def encoder_norms(task: SegmentationTask) -> list[Any]:
    modules = task.network.named_modules()
    return [module for name, module in modules if name.startswith("encoder.") and isinstance(module, BATCH_NORMS)]


def copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested dicts and lists."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from tensors(part)


def adamw(parameters: Any, fused: bool = False) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=1e-3, fused=fused)


# Figures ------------------------------------------------------------------------------------------------------------


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


# Input --------------------------------------------------------------------------------------------------------------


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
        assert torch.equal(whole_image(network, image), network(image))


# Loss ---------------------------------------------------------------------------------------------------------------


def losses_of(folder: Path, task: SegmentationTask, **options: Any) -> list[float]:
    losses = Losses()
    trainer = tiny_trainer(folder, callbacks=[losses], limit_val_batches=0, **options)
    trainer.fit(task, datamodule=TinyData())
    return losses.seen


def test_a_batch_of_nothing_but_void_trains_on_with_gradients_of_zero(tmp_path: Path):
    class Gradients(pl.Callback):
        def on_after_backward(self, trainer, pl_module):
            for name, parameter in pl_module.network.named_parameters():
                assert parameter.grad is not None, name
                assert not parameter.grad.any(), name

    void = [tiny_sample(SQUARE, seed, values=(VOID,)) for seed in range(2)]
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
    assert loss == pytest.approx(float(nn.functional.cross_entropy(logits, batch["mask"].long(), ignore_index=VOID)))


def test_the_loss_at_the_logits_resolution_takes_the_label_under_each_logits_centre(tmp_path: Path):
    (loss,) = losses_of(tmp_path, tiny_task(loss_resolution="logits"), max_steps=1)
    task, batch = tiny_task(), first_batch()
    logits = task.network.forward_logits(task.normalize(batch["image"]))  # type: ignore[operator]
    assert logits.shape[-2:] == (16, 16)
    labels = batch["mask"][:, 2::4, 2::4].long()  # a logit's centre lies between pixels 1 and 2 of its four
    assert loss == pytest.approx(float(nn.functional.cross_entropy(logits, labels, ignore_index=VOID)))


def first_batch() -> dict[str, Any]:
    """The batch that a fit with the seed of `tiny_task` starts with."""
    torch.manual_seed(0)
    return next(iter(TinyData().train_dataloader()))


@pytest.mark.parametrize("size", [(5, 7), (13, 9), (2, 3)])
def test_resized_labels_are_those_under_the_centres_and_never_mixed(size: tuple[int, int]):
    labels = torch.from_numpy(np.random.default_rng(0).choice([0, 7, 254, VOID], (2, 11, 13)))
    rows, columns = (
        np.floor((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size, (11, 13), strict=True)
    )
    resized = resize_labels(labels, torch.Size(size))
    assert resized.dtype == torch.int64
    np.testing.assert_array_equal(resized, labels.numpy()[:, rows][:, :, columns])


def test_a_loss_at_the_logits_needs_a_network_that_gives_them():
    with pytest.raises(UserError, match=r"FPN has no forward_logits.*loss_resolution='label'"):
        tiny_task(network=smp.FPN("resnet18", encoder_weights=None, classes=4), loss_resolution="logits")


def test_a_task_needs_one_name_and_one_colour_for_each_class():
    with pytest.raises(UserError, match="0 class_names"):
        SegmentationTask(tiny_network())
    with pytest.raises(UserError, match="2 class_names, 1 class_colors"):
        SegmentationTask(tiny_network(), class_names=["a", "b"], class_colors=[(0, 0, 0)])


# Batch norm ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch_norm", "statistics_move", "affine_moves"),
    [("train", True, True), ("frozen_statistics", False, True), ("frozen", False, False)],
)
def test_an_epoch_moves_of_the_encoders_batch_norm_what_the_setting_says(
    tmp_path: Path, batch_norm: str, statistics_move: bool, affine_moves: bool
):
    task = tiny_task(batch_norm=batch_norm)
    before = [copied(norm) for norm in encoder_norms(task)]
    tiny_trainer(tmp_path, max_epochs=2, num_sanity_val_steps=1).fit(task, datamodule=TinyData())
    after = [copied(norm) for norm in encoder_norms(task)]
    assert len(after) > 10
    for name, moves in [
        ("running_mean", statistics_move),
        ("running_var", statistics_move),
        ("num_batches_tracked", statistics_move),
        ("weight", affine_moves),
        ("bias", affine_moves),
    ]:
        moved = [not torch.equal(old[name], new[name]) for old, new in zip(before, after, strict=True)]
        assert moved == [moves] * len(moved), name


@pytest.mark.parametrize("batch_norm", ["frozen_statistics", "frozen"])
def test_frozen_batch_norm_is_frozen_in_the_first_batch_of_a_fit_without_validation(tmp_path: Path, batch_norm: str):
    task = tiny_task(batch_norm=batch_norm)
    before = [norm.running_mean.clone() for norm in encoder_norms(task)]
    tiny_trainer(tmp_path, max_steps=1, limit_val_batches=0).fit(task, datamodule=TinyData())
    assert all(torch.equal(old, norm.running_mean) for old, norm in zip(before, encoder_norms(task), strict=True))


def test_frozen_batch_norm_stays_frozen_when_the_task_is_put_back_into_training():
    task = tiny_task(batch_norm="frozen_statistics").eval().train()
    assert not any(norm.training for norm in encoder_norms(task))
    assert task.network.get_submodule("decoder").training
    assert all(norm.training for norm in encoder_norms(tiny_task().eval().train()))


def test_freezing_is_for_the_encoder_alone(tmp_path: Path):
    network = smp.Unet("resnet18", encoder_depth=3, decoder_channels=(16, 8, 8), encoder_weights=None, classes=4)
    task = tiny_task(network=network, batch_norm="frozen")
    tiny_trainer(tmp_path, max_steps=1).fit(task, datamodule=TinyData())
    norms = [module for module in network.decoder.modules() if isinstance(module, BATCH_NORMS)]
    assert norms
    assert all(norm.weight.requires_grad and norm.num_batches_tracked == 1 for norm in norms)


def test_batch_norm_of_one_image_is_refused_with_the_ways_out(tmp_path: Path):
    with pytest.raises(UserError, match=r"data\.batch_size is 1.*frozen_statistics"):
        tiny_trainer(tmp_path).fit(tiny_task(), datamodule=TinyData(batch_size=1))


def test_one_image_a_batch_is_fine_where_batch_norm_is_frozen(tmp_path: Path):
    task = tiny_task(batch_norm="frozen_statistics")
    tiny_trainer(tmp_path, max_steps=1, limit_val_batches=0).fit(task, datamodule=TinyData(batch_size=1))


def test_synchronised_batch_norm_is_refused_on_a_cpu(tmp_path: Path):
    task = tiny_task(network=nn.SyncBatchNorm.convert_sync_batchnorm(tiny_network()))
    with pytest.raises(UserError, match="sync_batchnorm needs GPUs"):
        tiny_trainer(tmp_path).fit(task, datamodule=TinyData())


# Optimiser ----------------------------------------------------------------------------------------------------------


def test_parameters_are_grouped_by_encoder_and_decay_and_each_is_in_one_group():
    network = tiny_network()
    optimizer = make_optimizer(network, sgd, encoder_lr_factor=0.1, decay_norms_and_biases=False)
    groups = {(group["name"], group["weight_decay"] > 0): group for group in optimizer.param_groups}
    assert len(groups) == len(optimizer.param_groups) == 4
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    grouped = []
    for (part, decayed), group in groups.items():
        assert group["lr"] == pytest.approx(0.005 if part == "encoder" else 0.05)
        assert group["weight_decay"] == (1e-3 if decayed else 0)
        for parameter in group["params"]:
            name = names[id(parameter)]
            assert name.startswith("encoder.") == (part == "encoder"), name
            assert (parameter.ndim > 1) == decayed, name
            grouped.append(name)
    assert sorted(grouped) == sorted(names.values())


def test_with_decay_everywhere_there_are_two_groups_and_frozen_parameters_are_in_none():
    task = tiny_task(batch_norm="frozen")
    optimizer = make_optimizer(task.network, sgd, encoder_lr_factor=0.5, decay_norms_and_biases=True)
    assert [group["name"] for group in optimizer.param_groups] == ["encoder", "decoder"]
    assert {group["weight_decay"] for group in optimizer.param_groups} == {1e-3}
    frozen = {id(parameter) for norm in encoder_norms(task) for parameter in norm.parameters()}
    grouped = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert not frozen & grouped
    assert frozen | grouped == {id(parameter) for parameter in task.network.parameters()}


def poly_rates(total: int, warmup: int = 0, power: float = 0.9, encoder: float = 0.1) -> list[list[float]]:
    """The rates of encoder and decoder over a whole run, from the formula."""
    factors = [min(1, (step + 1) / warmup if warmup else 1) * (1 - step / total) ** power for step in range(total)]
    return [[0.05 * encoder * factor, 0.05 * factor] for factor in factors]


FIVE_BATCHES = [tiny_sample(SQUARE, seed) for seed in range(10)]


def test_rates_follow_the_schedule_in_optimiser_steps_when_batches_accumulate(tmp_path: Path):
    rates = Rates()
    task = tiny_task(encoder_lr_factor=0.1, schedule=Poly(warmup_steps=2))
    trainer = tiny_trainer(tmp_path, max_epochs=3, accumulate_grad_batches=2, limit_val_batches=0, callbacks=[rates])
    trainer.fit(task, datamodule=TinyData(train=FIVE_BATCHES))
    assert len(rates.seen) == 9  # five batches are three steps: two, two, and the one that is left
    np.testing.assert_allclose(rates.seen, poly_rates(total=9, warmup=2), rtol=1e-6)


def test_the_logged_rate_is_the_decoders_and_that_of_the_step_just_taken(tmp_path: Path):
    class Logged(pl.Callback):
        seen: list[float] = []  # noqa: RUF012

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.seen.append(float(trainer.callback_metrics["lr"]))

    rates, logged = Rates(), Logged()
    trainer = tiny_trainer(tmp_path, max_epochs=2, limit_val_batches=0, callbacks=[rates, logged])
    trainer.fit(tiny_task(encoder_lr_factor=0.1), datamodule=TinyData())
    np.testing.assert_allclose(logged.seen, [decoder for _, decoder in rates.seen], rtol=1e-6)


@pytest.mark.parametrize("saved_at", [3, 4], ids=["end of an epoch", "middle of an epoch"])
def test_a_resumed_run_has_the_rates_of_one_that_was_never_interrupted(tmp_path: Path, saved_at: int):
    def fit(folder: str, ckpt_path: Path | None = None) -> list[list[float]]:
        rates = Rates()
        checkpoint = ModelCheckpoint(tmp_path / folder, "{step}", every_n_train_steps=saved_at, save_top_k=-1)
        trainer = tiny_trainer(
            tmp_path, max_epochs=3, accumulate_grad_batches=2, limit_val_batches=0, callbacks=[rates, checkpoint]
        )
        trainer.fit(tiny_task(encoder_lr_factor=0.1), datamodule=TinyData(train=FIVE_BATCHES), ckpt_path=ckpt_path)
        return rates.seen

    whole = fit("whole")
    resumed = fit("resumed", tmp_path / "whole" / f"step={saved_at}.ckpt")
    np.testing.assert_allclose(whole, poly_rates(total=9), rtol=1e-6)
    assert resumed == whole[saved_at:]


def test_a_run_without_an_end_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"trainer\.max_epochs or trainer\.max_steps"):
        tiny_trainer(tmp_path, max_epochs=-1).fit(tiny_task(), datamodule=TinyData())


def test_the_validation_interval_counts_batches_not_optimiser_steps(tmp_path: Path):
    class Steps(pl.Callback):
        seen: list[int] = []  # noqa: RUF012

        def on_validation_end(self, trainer, pl_module):
            self.seen.append(trainer.global_step)

    steps = Steps()
    options: dict[str, Any] = {"accumulate_grad_batches": 2, "val_check_interval": 4, "check_val_every_n_epoch": None}
    trainer = tiny_trainer(tmp_path, max_epochs=-1, max_steps=6, callbacks=[steps], **options)
    trainer.fit(tiny_task(), datamodule=TinyData(train=FIVE_BATCHES[:8]))
    assert steps.seen == [2, 4, 6]


def test_two_runs_of_one_seed_end_with_the_same_weights_to_the_last_bit(tmp_path: Path):
    def fit() -> dict[str, Tensor]:
        pl.seed_everything(3)
        task = tiny_task(seed=3)
        tiny_trainer(tmp_path, max_epochs=2).fit(task, datamodule=TinyData())
        return copied(task)

    first = fit()
    assert not same(first, copied(tiny_task(seed=3)))
    assert same(first, fit())


# Memory layout and compilation --------------------------------------------------------------------------------------


def test_channels_last_changes_the_layout_and_not_the_losses(tmp_path: Path):
    task = tiny_task(channels_last=True)
    image = task.normalize(tiny_sample(SQUARE, seed=0)["image"][None])
    assert image.is_contiguous(memory_format=torch.channels_last)
    usual, strided = losses_of(tmp_path, tiny_task(), max_epochs=2), losses_of(tmp_path, task, max_epochs=2)
    kernels = [parameter for parameter in task.parameters() if parameter.ndim == 4]
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
    np.testing.assert_allclose(strided, usual, rtol=1e-3)


def test_every_tensor_of_a_channels_last_checkpoint_is_in_the_ordinary_layout(tmp_path: Path):
    checkpoint = ModelCheckpoint(tmp_path, "{step}")
    trainer = tiny_trainer(tmp_path, callbacks=[EMA(), checkpoint])
    trainer.fit(tiny_task(channels_last=True, optimizer=adamw), datamodule=TinyData())
    content = torch.load(checkpoint.best_model_path, weights_only=True)
    for part in ("state_dict", "current_model_state", "optimizer_states"):
        assert len([tensor for tensor in tensors(content[part]) if tensor.ndim == 4]) > 10, part
    assert all(tensor.is_contiguous() for tensor in tensors(content))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_run_resumed_at_an_epochs_end_trains_on_as_if_never_interrupted(
    tmp_path: Path, channels_last: bool, fused: bool
):
    def fit(ckpt_path: Path | None = None) -> dict[str, Tensor]:
        task = tiny_task(channels_last=channels_last, optimizer=partial(adamw, fused=fused), batch_norm="frozen")
        checkpoint = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, enable_version_counter=False)
        trainer = tiny_trainer(tmp_path, max_epochs=3, callbacks=[checkpoint, EMA(0.5)])
        trainer.fit(task, datamodule=TinyData(), ckpt_path=ckpt_path)
        return copied(task)

    whole = fit()
    assert same(fit(tmp_path / "epoch=0.ckpt"), whole)


def test_a_checkpoint_of_weights_alone_is_not_taken_for_one_to_resume_from(tmp_path: Path):
    checkpoint = ModelCheckpoint(tmp_path, save_weights_only=True)
    tiny_trainer(tmp_path, callbacks=[checkpoint]).fit(tiny_task(), datamodule=TinyData())
    with pytest.raises(KeyError, match="contains only the model"):
        tiny_trainer(tmp_path, max_epochs=2).fit(
            tiny_task(), datamodule=TinyData(), ckpt_path=checkpoint.best_model_path
        )


def test_a_compiled_tasks_checkpoint_has_the_keys_of_an_eager_one_and_loads_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # The real backend takes minutes on a CPU; this one runs what was traced as it is.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    task, eager = tiny_task(compile=True), tiny_task(seed=1)
    checkpoint = ModelCheckpoint(tmp_path)
    trainer = tiny_trainer(tmp_path, callbacks=[checkpoint, EMA()], max_steps=2)
    trainer.fit(task, datamodule=TinyData(val=[tiny_sample(SQUARE, 10)]))
    content = torch.load(checkpoint.best_model_path, weights_only=True)
    assert content["state_dict"].keys() == eager.state_dict().keys()
    eager.load_state_dict(content["state_dict"])
    image = tiny_sample(SQUARE, seed=0)["image"][None]
    with torch.no_grad():
        torch.testing.assert_close(task.eval()(image), eager.eval()(image), atol=1e-4, rtol=1e-4)


# Averaged weights ---------------------------------------------------------------------------------------------------


class Weights(pl.Callback):
    """Notes the network's weights after every training batch and in every validation."""

    def __init__(self) -> None:
        self.trained: list[dict[str, Tensor]] = []
        self.validated: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.trained.append(copied(pl_module))

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if batch_idx == 0:
            self.validated.append(copied(pl_module))


def test_before_the_first_update_the_average_is_the_network_as_it_starts(tmp_path: Path):
    task, weights = tiny_task(), Weights()
    start = copied(task)
    trainer = tiny_trainer(tmp_path, num_sanity_val_steps=1, callbacks=[EMA(), weights])
    trainer.fit(task, datamodule=TinyData())
    assert same(weights.validated[0], start)


def test_averaged_weights_follow_the_documented_recursion_in_validation_and_checkpoint(tmp_path: Path):
    decay = 0.3
    task, weights, checkpoint = tiny_task(), Weights(), ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
    trainer = tiny_trainer(tmp_path, max_epochs=3, callbacks=[EMA(decay), weights, checkpoint])
    trainer.fit(task, datamodule=TinyData())
    assert len(weights.trained) == 6
    average = weights.trained[0]
    for n, current in list(enumerate(weights.trained))[1:]:
        warm = min(decay, (1 + n) / (10 + n))
        assert (warm < decay) == (n < 3), "both the warm-up and the decay itself are tried"
        average = {
            name: warm * average[name] + (1 - warm) * value if value.is_floating_point() else value
            for name, value in current.items()
        }
    assert not same(average, weights.trained[-1])
    saved = torch.load(tmp_path / "epoch=2.ckpt", weights_only=True)
    for found in (weights.validated[-1], saved["state_dict"], copied(task)):
        torch.testing.assert_close(found, average, atol=1e-6, rtol=1e-5)
    assert same(saved["current_model_state"], weights.trained[-1])


def test_a_checkpoint_validated_after_the_fit_gives_the_figures_of_its_own_average(tmp_path: Path):
    task, data, seen = tiny_task(schedule=Constant()), TinyData(), Validations()
    checkpoint = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
    trainer = tiny_trainer(tmp_path, max_epochs=3, callbacks=[EMA(0.9), seen, checkpoint])
    trainer.fit(task, datamodule=data)
    first, last = seen.matrix(0), seen.matrix(2)
    assert (first != last).any()
    trainer.validate(task, datamodule=data, ckpt_path=str(tmp_path / "epoch=0.ckpt"), verbose=False)
    np.testing.assert_array_equal(seen.matrix(3), first)

    again = Validations()
    alone = tiny_trainer(tmp_path, callbacks=[EMA(0.9), again])
    alone.validate(tiny_task(seed=9), datamodule=data, ckpt_path=str(tmp_path / "epoch=0.ckpt"), verbose=False)
    np.testing.assert_array_equal(again.matrix(0), first)


def test_the_average_lives_on_the_trainers_device_from_the_start():
    class Strategy:
        root_device = torch.device("meta")

    class Trainer:
        strategy = Strategy()

    ema, task = EMA(), tiny_task()
    checkpoint: dict[str, Any] = {"state_dict": {}}
    ema.setup(Trainer(), task, "fit")  # type: ignore[arg-type]
    ema.on_save_checkpoint(Trainer(), task, checkpoint)  # type: ignore[arg-type]
    assert {tensor.device.type for tensor in tensors(checkpoint["state_dict"])} == {"meta"}
