"""The LightningModule: what is trained, how it steps, and what is logged."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from lightning_utilities.core.apply_func import apply_to_collection
from pytorch_lightning.cli import OptimizerCallable
from torch import Tensor, nn

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.errors import UserError
from refinenet_pl.evaluation import ConfusionMatrix, class_iou, mean_accuracy, mean_iou, pixel_accuracy
from refinenet_pl.evaluation.inference import Inference, full_resolution_logits
from refinenet_pl.networks.encoders import load_encoder_weights
from refinenet_pl.training.losses import CrossEntropy
from refinenet_pl.training.optimization import make_optimizer
from refinenet_pl.training.schedules import Poly, Schedule, make_scheduler

WHOLE_IMAGE = Inference()
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class SegmentationTask(pl.LightningModule):
    """Trains and evaluates any network that maps images [N, 3, H, W] to logits [N, C, H, W].

    The command line fills in `class_names`, `class_colors`, `mean` and `std` from the data and the network.

    Args:
        network: The network; its encoder's parameters are those whose name starts with "encoder".
        encoder_weights: State-dict file that the network's encoder starts from, for networks that cannot read one
            themselves, as smp's.
        loss: Maps logits [N, C, h, w] and labels [N, h, w] (255 = void) to a scalar.
        optimizer: Called with parameter groups; its `lr` is the decoder's.
        encoder_lr_factor: The encoder's learning rate over the decoder's (the authors: 0.1).
        decay_norms_and_biases: Whether weight decay acts on them too, as in the authors' recipe.
        schedule: Learning rate over the optimizer's steps.
        loss_resolution: "label" upsamples the logits to the labels; "logits" resizes the labels to the logits (of
            RefineNet: at stride 4; nearest), as the authors do: cheaper, and thin things count less.
        batch_norm: The encoder's batch norm: "train"; "frozen_statistics" keeps mean and variance of the pre-training
            and trains the affine part (the authors); "frozen" keeps both.
        channels_last: Memory layout of network and images, which convolutions on GPUs are faster in.
        compile: Compile encoder, decoder and heads with torch.compile.
        inference: Windows, scales and mirror images with which `validate`, `test` and `predict` show an image. The
            validations within `fit` show it once and whole, so that they stay cheap.
        class_names: One name a class.
        class_colors: One RGB triple a class, 0..255.
        mean: Per channel, for pixels in 0..1, subtracted from the image; by default 0.
        std: Per channel, divides the image then; by default 1.

    Raises:
        UserError: The network cannot give what another argument asks for, or no class is named.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        encoder_weights: str | None = None,
        loss: nn.Module | None = None,
        optimizer: OptimizerCallable = torch.optim.SGD,
        encoder_lr_factor: float = 1.0,
        decay_norms_and_biases: bool = True,
        schedule: Schedule | None = None,
        loss_resolution: Literal["label", "logits"] = "label",
        batch_norm: Literal["train", "frozen_statistics", "frozen"] = "train",
        channels_last: bool = False,
        compile: bool = False,
        inference: Inference = WHOLE_IMAGE,
        class_names: Sequence[str] = (),
        class_colors: Sequence[Sequence[int]] = (),
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if not class_names or len(class_names) != len(class_colors):
            raise UserError(
                f"{len(class_names)} class_names, {len(class_colors)} class_colors; give one of each a class"
            )
        if loss_resolution == "logits" and not hasattr(network, "forward_logits"):
            raise UserError(
                f"loss_resolution is 'logits', but {type(network).__name__} has no forward_logits(x); "
                "use loss_resolution='label', or give the network that method"
            )
        if getattr(network, "classification_head", None) is not None:
            raise UserError("the network has a classification head, which nothing here trains; leave out aux_params")
        if encoder_weights:
            if not hasattr(network, "encoder"):
                raise UserError(
                    f"{type(network).__name__} has no attribute `encoder` for model.encoder_weights to fill"
                )
            load_encoder_weights(network.get_submodule("encoder"), Path(encoder_weights))
        self.network = network.to(memory_format=torch.channels_last) if channels_last else network
        self.loss = loss or CrossEntropy()
        self.optimizer = optimizer
        self.encoder_lr_factor = encoder_lr_factor
        self.decay_norms_and_biases = decay_norms_and_biases
        self.schedule = schedule or Poly()
        self.loss_resolution = loss_resolution
        self.batch_norm = batch_norm
        self.inference = inference
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.class_names = list(class_names)
        self.class_colors = [list(color) for color in class_colors]
        # Not in the state dict: they belong to the configuration, which says them in words.
        self.register_buffer("mean", 255 * torch.tensor(mean or [0.0]).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std or [1.0]).view(-1, 1, 1), persistent=False)
        self.confusion = ConfusionMatrix(len(self.class_names), ignore_index=IGNORE_INDEX)
        if batch_norm != "train":
            for norm in self._encoder_norms():
                norm.eval()  # here too: Lightning keeps the modes that it finds, and need not call train()
                norm.requires_grad_(batch_norm == "frozen_statistics")
        if compile:
            # Children, not the whole: forward and forward_logits both run them, and no key changes its name.
            for child in network.children():
                child.compile()

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, C, H, W] of uint8 images [N, 3, H, W]."""
        return full_resolution_logits(self.network, self.normalize(images))

    def normalize(self, images: Tensor) -> Tensor:
        """Floats for the network, from pixels 0..255."""
        return ((images - self.mean) / self.std).contiguous(memory_format=self.memory_format)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The loss of a batch {"image": uint8 [N, 3, H, W], "mask": uint8 [N, H, W]}."""
        labels = batch["mask"].long()
        if self.loss_resolution == "logits":
            logits = self.network.forward_logits(self.normalize(batch["image"]))  # type: ignore[operator]
            labels = resize_labels(labels, logits.shape[-2:])
        else:
            logits = self(batch["image"])
        loss = self.loss(logits, labels)
        self.log("train/loss", loss, prog_bar=True)
        self.log("lr", self.trainer.optimizers[0].param_groups[-1]["lr"], prog_bar=True)
        return loss

    def predict_labels(self, image: Tensor, inference: Inference | None = None) -> Tensor:
        """Labels uint8 [H, W] of one uint8 image [3, H, W], at its own size; by the task's inference unless told."""
        return (inference or self.inference).predict(self.network, self.normalize(image[None])[0])

    def validation_step(self, sample: dict[str, Any], batch_idx: int) -> Tensor:
        """Count one sample; its predicted labels uint8 [H, W] go to the callbacks."""
        return self._count(sample, WHOLE_IMAGE if self.trainer.state.fn == "fit" else self.inference)

    def test_step(self, sample: dict[str, Any], batch_idx: int) -> Tensor:
        """As in validation."""
        return self._count(sample, self.inference)

    def predict_step(self, sample: dict[str, Any], batch_idx: int) -> Tensor:
        """Labels uint8 [H, W] of one sample {"image": uint8 [3, H, W]}."""
        return self.predict_labels(sample["image"])

    def _count(self, sample: dict[str, Any], inference: Inference) -> Tensor:
        predicted = self.predict_labels(sample["image"], inference)
        self.confusion.update(predicted, sample["mask"])
        return predicted

    def on_validation_epoch_start(self) -> None:
        """Count from zero."""
        self.confusion.reset()

    def on_test_epoch_start(self) -> None:
        """Count from zero."""
        self.confusion.reset()

    def on_validation_epoch_end(self) -> None:
        """Log the figures of the whole split."""
        self._log_figures("val")

    def on_test_epoch_end(self) -> None:
        """Log the figures of the whole split."""
        self._log_figures("test")

    def _log_figures(self, split: str) -> None:
        matrix = self.confusion.compute()  # summed over the devices, so every rank logs the same
        self.log(f"{split}/miou", mean_iou(matrix), prog_bar=True)
        self.log(f"{split}/pixel_accuracy", pixel_accuracy(matrix))
        self.log(f"{split}/mean_accuracy", mean_accuracy(matrix))
        self.log_dict(
            {f"{split}/iou/{n}": v for n, v in zip(self.class_names, class_iou(matrix).tolist(), strict=True)}
        )

    def configure_optimizers(self) -> Any:
        """Parameter groups for encoder and decoder, and the schedule over the steps of the whole run."""
        optimizer = make_optimizer(self.network, self.optimizer, self.encoder_lr_factor, self.decay_norms_and_biases)
        total = self.trainer.estimated_stepping_batches
        if total == float("inf"):
            raise UserError("the schedule needs an end: set trainer.max_epochs or trainer.max_steps")
        scheduler = make_scheduler(optimizer, self.schedule, int(total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Refuse batch norm that cannot work, in words."""
        if self.batch_norm != "train" or not any(True for _ in self._encoder_norms()):
            return
        synchronized = any(isinstance(norm, nn.SyncBatchNorm) for norm in self._encoder_norms())
        if synchronized and self.device.type == "cpu":
            raise UserError("trainer.sync_batchnorm needs GPUs; leave it out, or freeze with model.batch_norm")
        batch_size = getattr(self.trainer.datamodule, "batch_size", None)  # type: ignore[attr-defined]
        if batch_size == 1 and not synchronized:
            raise UserError(
                "data.batch_size is 1: one image a device is too few to estimate batch norm's statistics; give "
                "model.batch_norm=frozen_statistics (the paper's way) or a larger data.batch_size"
            )

    def train(self, mode: bool = True) -> "SegmentationTask":
        """Set the mode; frozen batch norm stays in evaluation whatever the mode."""
        super().train(mode)
        if self.batch_norm != "train":
            for norm in self._encoder_norms():
                norm.eval()
        return self

    def _encoder_norms(self) -> Iterator[nn.Module]:
        for name, module in self.network.named_modules():
            if name.startswith("encoder") and isinstance(module, BATCH_NORMS):
                yield module

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store every tensor in the ordinary layout, whatever the network's in memory."""
        for key, value in checkpoint.items():
            checkpoint[key] = apply_to_collection(value, Tensor, Tensor.contiguous)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Give the optimizer's state the layout of the network's parameters again, which fused optimizers rely on."""
        if "optimizer_states" in checkpoint:  # not in a checkpoint of weights alone
            checkpoint["optimizer_states"] = apply_to_collection(checkpoint["optimizer_states"], Tensor, self._lay_out)

    def _lay_out(self, tensor: Tensor) -> Tensor:
        return tensor.contiguous(memory_format=self.memory_format) if tensor.ndim == 4 else tensor


def resize_labels(labels: Tensor, size: torch.Size) -> Tensor:
    """Labels [N, H, W] at another size, each the label under its center."""
    return F.interpolate(labels[:, None].float(), size=size, mode="nearest-exact")[:, 0].long()
