"""The LightningModule: what is trained, how it steps, and what it logs."""

from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.cli import OptimizerCallable
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor, nn

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.errors import UserError
from refinenet_pl.evaluation import ConfusionMatrix, class_iou, mean_accuracy, mean_iou, pixel_accuracy
from refinenet_pl.evaluation.inference import Inference, full_resolution_logits
from refinenet_pl.evaluation.segmenter import Segmenter
from refinenet_pl.preprocessing import Preprocessing
from refinenet_pl.training.batch_norm import BatchNormMode, check_batch_norm, keep_frozen
from refinenet_pl.training.losses import CrossEntropy
from refinenet_pl.training.memory_layout import make_contiguous, memory_format, restore_optimizer_layout
from refinenet_pl.training.optimization import learning_rates, make_optimizer
from refinenet_pl.training.plan import PLAN_KEY, Resumed, apply_changes, group_settings, read_progress, total_steps
from refinenet_pl.training.preparation import check_network, prepare_network
from refinenet_pl.training.schedules import Poly, Schedule, make_scheduler
from refinenet_pl.training.validation_loss import ValidationLoss, resize_target, terms
from refinenet_pl.weights.transfer import transfer_weights

FULL_IMAGE = Inference()


class SegmentationTask(pl.LightningModule):
    """Trains and evaluates a network that maps images [N, 3, H, W] to logits [N, C, H, W].

    Args:
        network: The network. Parameters whose name starts with "encoder" are the encoder's.
        preprocessing: Pixel statistics and classes. The command line fills it from the data and the encoder.
        weights: Weights to start from (fine-tuning): a checkpoint, a run folder, a weights folder, or a file of
            published weights. Tensors that do not fit are left out and listed; in the last layer, classes of the same
            name keep their rows.
        encoder_weights: State-dict file or checkpoint to initialize the encoder from, for networks that cannot read one
            themselves, such as smp's.
        loss: Maps logits [N, C, h, w] and targets [N, h, w] (255 is ignored) to a scalar. None is CrossEntropy.
        optimizer: Makes the optimizer from parameter groups. Its `lr` is the decoder's.
        encoder_lr_factor: Factor on the learning rate of the encoder (the authors: 0.1).
        decay_norms_and_biases: Apply weight decay to normalization layers and biases too, as the authors do.
        schedule: Learning rate over the optimizer steps. None is Poly.
        loss_resolution: "label" upsamples the logits to the size of the target; "logits" resizes the target to the
            size of the logits (RefineNet: stride 4; nearest), as the authors do. This is cheaper, and thin objects
            count less.
        batch_norm: Batch norm of the encoder: "train" trains it; "frozen_statistics" keeps mean and variance of the
            pre-training and trains the affine part (the authors); "frozen" keeps both.
        channels_last: Store network and images in channels-last layout, which is faster on GPUs and CPUs.
        compile: Compile encoder, decoder and heads with torch.compile.
        inference: Scales, flips and windows of `validate`, `test` and `predict`.
        validation_inference: The same for validations within `fit`. The default, the whole image once, is the cheapest;
            windows help if whole images do not fit into the memory.

    Raises:
        UserError: The network lacks what another argument needs, or preprocessing names no classes.
    """

    def __init__(
        self,
        network: nn.Module,
        preprocessing: Preprocessing,
        weights: str | None = None,
        encoder_weights: str | None = None,
        loss: nn.Module | None = None,
        optimizer: OptimizerCallable = torch.optim.SGD,
        encoder_lr_factor: float = 1.0,
        decay_norms_and_biases: bool = True,
        schedule: Schedule | None = None,
        loss_resolution: Literal["label", "logits"] = "label",
        batch_norm: BatchNormMode = "train",
        channels_last: bool = True,
        compile: bool = False,
        inference: Inference = FULL_IMAGE,
        validation_inference: Inference = FULL_IMAGE,
    ) -> None:
        super().__init__()
        if not preprocessing.class_names:
            raise UserError("preprocessing names no classes; give class_names and class_colors, one of each per class")
        check_network(network, loss_resolution)
        self.layout = memory_format(channels_last)
        self.network = prepare_network(network, encoder_weights, batch_norm, compile)
        if weights:
            rank_zero_only(print)(str(transfer_weights(network, weights, preprocessing.class_names)))
        self.preprocessing = preprocessing
        # The segmenter is no module: its modules are the task's, which moves them between devices and saves them.
        self.segmenter = Segmenter(network, preprocessing, inference, self.layout)
        self.normalize = self.segmenter.normalize
        self.validation_inference = validation_inference
        self.loss = loss or CrossEntropy()
        # A function, because copies of the task, such as that of averaged weights, share it. What the command line
        # passes refers to the whole trainer, which cannot be copied once it has started other processes.
        self.optimizer = lambda parameters: optimizer(parameters)
        self.encoder_lr_factor = encoder_lr_factor
        self.decay_norms_and_biases = decay_norms_and_biases
        self.schedule = schedule or Poly()
        self.loss_resolution = loss_resolution
        self.batch_norm = batch_norm
        self.plan: dict[str, Any] = {}
        self.resumed: Resumed | None = None
        self.stage: str | None = None
        self.validation_loss = ValidationLoss(loss_resolution)
        self.predicts_probabilities = False
        self.confusion = ConfusionMatrix(len(preprocessing.class_names), ignore_index=IGNORE_INDEX)

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits [N, C, H, W] of uint8 images [N, 3, H, W]."""
        return full_resolution_logits(self.network, self.normalize(images))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Return the loss of a batch {"image": uint8 [N, 3, H, W], "mask": uint8 [N, H, W]}."""
        target = batch["mask"].long()
        if self.loss_resolution == "logits":
            logits = self.network.forward_logits(self.normalize(batch["image"]))  # type: ignore[operator]
            target = resize_target(target, logits.shape[-2:])
        else:
            logits = self(batch["image"])
        loss = self.loss(logits, target)
        self.log("train/loss", loss, prog_bar=True)
        self.log_dict({f"train/loss/{name}": term for name, term in terms(self.loss).items()})
        self.log_dict(learning_rates(self.trainer.optimizers[0]))
        return loss

    def validation_step(self, samples: list[dict[str, Any]], batch_idx: int) -> dict[str, list[Tensor]]:
        """Evaluate samples {"image": uint8 [3, H, W], "mask": uint8 [H, W]} of any sizes.

        Returns:
            For callbacks, for each sample: "predictions", uint8 [H, W], and "confusion_matrices", int64 [C, C].
        """
        images = [sample["image"] for sample in samples]
        if self.trainer.state.fn == "fit":
            see = self.validation_loss.watch(self.loss, samples)
            predictions = self.segmenter.predict_tensors(images, self.validation_inference, see)
        else:
            predictions = self.segmenter.predict_tensors(images)
        # The metric adds an image to its sum and returns the matrix of this image alone.
        matrices = [self.confusion(mask, sample["mask"]) for mask, sample in zip(predictions, samples, strict=True)]
        return {"predictions": predictions, "confusion_matrices": matrices}

    def on_validation_epoch_start(self) -> None:
        """Reset the metrics."""
        self.confusion.reset()
        self.validation_loss.reset()

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of the whole split."""
        split = "test" if self.trainer.testing else "val"
        matrix = self.confusion.compute()  # summed over the devices, so that every rank logs the same
        self.log(f"{split}/miou", mean_iou(matrix), prog_bar=True)
        self.log(f"{split}/pixel_accuracy", pixel_accuracy(matrix))
        self.log(f"{split}/mean_accuracy", mean_accuracy(matrix))
        per_class = zip(self.preprocessing.class_names, class_iou(matrix).tolist(), strict=True)
        self.log_dict({f"{split}/iou/{name}": iou for name, iou in per_class})
        if self.trainer.state.fn == "fit":
            self.log_dict({f"val/{name}": value for name, value in self.validation_loss.compute().items()})

    test_step = validation_step
    on_test_epoch_start = on_validation_epoch_start
    on_test_epoch_end = on_validation_epoch_end

    def predict_step(self, sample: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> Tensor | None:
        """Return the class indices, uint8 [H, W], of one sample {"image": uint8 [3, H, W]}; None without an image.

        If `predicts_probabilities` is set, return the probabilities, float32 [C, H, W].
        """
        if "image" not in sample:
            return None
        if self.predicts_probabilities:
            return self.segmenter.probability_tensor(sample["image"])
        return self.segmenter.predict_tensor(sample["image"])

    def configure_optimizers(self) -> Any:
        """Return the optimizer, and the schedule over the optimizer steps of the whole run."""
        optimizer = make_optimizer(self.network, self.optimizer, self.encoder_lr_factor, self.decay_norms_and_biases)
        steps = total_steps(self.trainer, self.resumed.progress if self.resumed else None)
        self.plan = {"groups": group_settings(optimizer), "total_steps": steps}
        scheduler = make_scheduler(optimizer, self.schedule, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def setup(self, stage: str) -> None:
        """Forget an earlier training."""
        self.stage, self.resumed = stage, None

    def on_fit_start(self) -> None:
        """Refuse batch norm that cannot train."""
        if self.batch_norm == "train":
            batch_size = getattr(self.trainer.datamodule, "batch_size", None)  # type: ignore[attr-defined]
            check_batch_norm(self.network, self.device.type, batch_size)

    def on_train_start(self) -> None:
        """Apply the settings that a continued training changes, and say what the schedule does."""
        if self.resumed is None:
            return
        scheduler: Any = self.lr_schedulers()
        apply_changes(self.trainer.optimizers[0], scheduler, self.resumed.plan["groups"], self.plan["groups"])
        earlier, steps = self.resumed.plan["total_steps"], self.plan["total_steps"]
        if earlier != steps:
            rank_zero_only(print)(
                f"the schedule {type(self.schedule).__name__} is planned over {steps} steps instead of {earlier}: from "
                f"step {scheduler.last_epoch} on, the learning rate is {scheduler.get_last_lr()[-1]:.3g}"
            )

    def train(self, mode: bool = True) -> "SegmentationTask":
        """Set the mode; frozen batch norm stays in evaluation mode."""
        super().train(mode)
        keep_frozen(self.network, self.batch_norm)
        return self

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store tensors in the contiguous layout, and the plan of the training."""
        make_contiguous(checkpoint)
        checkpoint[PLAN_KEY] = self.plan

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Give the optimizer's state the network's layout again, and keep the progress and plan of the training."""
        restore_optimizer_layout(checkpoint, self.layout)
        if PLAN_KEY in checkpoint and self.stage == "fit":
            self.resumed = Resumed(read_progress(checkpoint), checkpoint[PLAN_KEY])

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **options: Any) -> "SegmentationTask":
        """Load weights into a task with a given `network` and `preprocessing`; `refinenet_pl.load` needs neither."""
        if not {"network", "preprocessing"} <= options.keys():
            raise UserError(
                "SegmentationTask.load_from_checkpoint needs network=... and preprocessing=...; "
                f"use refinenet_pl.load({str(checkpoint_path)!r}), which reads both from the checkpoint"
            )
        return super().load_from_checkpoint(checkpoint_path, *args, **options)
