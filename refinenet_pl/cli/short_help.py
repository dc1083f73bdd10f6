"""The help of `fit`, `validate`, `test` and `predict`: the options that people use, without loading torch."""

from collections.abc import Iterable
from textwrap import fill
from typing import NamedTuple

from refinenet_pl.cli import catalog
from refinenet_pl.cli.listing import table


class Option(NamedTuple):
    """An option.

    Attributes:
        name: Its name and a word for its value.
        text: What it does.
        example: A value.
        commands: The commands that have it.
    """

    name: str
    text: str
    example: str
    commands: tuple[str, ...] = ("fit", "validate", "test", "predict")


EVALUATIONS = ("validate", "test", "predict")
WITH_DATA = ("fit", "validate", "test")
OPTIONS = (
    Option("--config FILE", "yaml of a dataset, a recipe or your own; repeat it, later files win", ""),
    Option("--ckpt_path RUN", "go on with this run, from its last checkpoint; or a file", "", ("fit",)),
    Option("--ckpt_path RUN", "the trained network: its best checkpoint; or a file", "", EVALUATIONS),
    Option("--images PATH ...", "image files, folders of images, and videos", "photos", ("predict",)),
    Option("--output FOLDER", "folder for masks, overlays and the rest (predictions)", "out", ("predict",)),
    Option("--opacity X", "weight of the colors in overlays, 0 to 1 (0.5)", "0.3", ("predict",)),
    Option("--probabilities BOOL", "write the probabilities of images too", "true", ("predict",)),
    Option("--video_masks BOOL", "write the mask of each frame of a video", "true", ("predict",)),
    Option("--submission SERVER", "write the archive for cityscapes or voc", "voc", ("predict",)),
    Option("--experiment NAME", "name of the run (the names of the --config files)", "mine", WITH_DATA),
    Option("--runs FOLDER", "folder of all runs (runs)", "elsewhere", WITH_DATA),
    Option("--seed_everything N", "seed of weights, order and augmentation (0)", "3", ("fit",)),
    Option("--data CLASS", "data module; below", "FolderDataModule", ("fit",)),
    Option("--data.root FOLDER", "folder of the dataset", "mydata", WITH_DATA),
    Option("--data.batch_size N", "samples per device and step", "4", ("fit",)),
    Option("--data.crop_size [H,W]", "size of the training crops", "[64,96]", ("fit",)),
    Option("--data.num_workers N", "processes that read data, per device", "2", WITH_DATA),
    Option("--model.network CLASS", "network; below", "LightWeightRefineNet", ("fit",)),
    Option("--model.network.encoder_name NAME", "encoder: refinenet list encoders", "resnet50", ("fit",)),
    Option("--model.network.encoder_weights FILE", "its weights: imagenet, a file, or null", "null", ("fit",)),
    Option("--model.network.pooling KIND", "chained pooling: original, improved or null", "improved", ("fit",)),
    Option("--model.loss CLASS", "loss; below", "Lovasz", ("fit",)),
    Option("--model.optimizer.lr X", "learning rate", "0.25", ("fit",)),
    Option("--model.weights RUN", "start from the weights of another run, also with other classes", "other", ("fit",)),
    Option("--model.inference.scales [X,...]", "evaluate at several scales", "[0.5,1.5]"),
    Option("--model.inference.flip BOOL", "evaluate the mirrored image too", "true"),
    Option("--model.inference.window [H,W]", "evaluate in windows that overlap", "[64,64]"),
    Option("--trainer.max_epochs N", "length of the training", "7", ("fit",)),
    Option("--trainer.devices N", "number of GPUs", "1"),
    Option("--trainer.precision KIND", "bf16-mixed, 16-mixed or 32-true", "32-true"),
    Option("--trainer.logger NAME", "WandbLogger, TensorBoardLogger, or false for neither", "false", ("fit",)),
    Option("--trainer.fast_dev_run BOOL", "one step of everything; nothing is written", "true", ("fit",)),
    Option("--pictures N", "validation samples to save as pictures", "2", WITH_DATA),
    Option("--threads N", "threads on a CPU (measured)", "2"),
)
USAGES = {
    "fit": "--config DATASET.yaml --config RECIPE.yaml [OPTIONS]",
    "validate": "--ckpt_path RUN [OPTIONS]",
    "test": "--ckpt_path RUN [OPTIONS]",
    "predict": "--ckpt_path RUN --images PATH [PATH ...] [OPTIONS]",
}
EXAMPLES = {
    "fit": (
        "--config experiments/datasets/scenes.yaml --config experiments/recipes/quickstart.yaml",
        "--ckpt_path runs/scenes_quickstart/TIME",
    ),
    "validate": ("--ckpt_path runs/scenes_quickstart/TIME --model.inference.flip true",),
    "test": ("--ckpt_path runs/scenes_quickstart/TIME",),
    "predict": ("--ckpt_path runs/scenes_quickstart/TIME --images photos/ --output predictions/",),
}


def short_help(command: str, summary: str) -> str:
    """Return the help of a command.

    Args:
        command: The command.
        summary: What it does.
    """
    options = {option.name: option.text for option in OPTIONS if command in option.commands}
    examples = [f"  refinenet {command} {example}" for example in EXAMPLES[command]]
    return "\n".join(
        [
            f"usage: refinenet {command} {USAGES[command]}",
            "",
            f"{summary[0].upper()}{summary[1:]}.",
            "",
            "options, with defaults in parentheses:",
            table(options),
            *(_choices() if command == "fit" else []),
            "",
            "examples:",
            *examples,
            "",
            f"refinenet {command} --help all lists all options. A value of several parts has brackets and no spaces.",
        ]
    )


def _choices() -> list[str]:
    choices = {
        "networks": [*catalog.networks(), "segmentation_models_pytorch.NAME"],
        "losses": [*catalog.losses()],
        "data modules": [*catalog.data_modules()],
    }
    if catalog.experiments_folder("recipes"):
        choices["recipes"] = [*catalog.experiments("recipes")]
    return [
        "",
        *(_paragraph(f"{kind}:", names) for kind, names in choices.items()),
        "refinenet list recipes|datasets|networks|losses|encoders describes them.",
    ]


def _paragraph(title: str, names: Iterable[str]) -> str:
    return fill(f"{title:<14} {', '.join(names)}", 100, subsequent_indent=15 * " ")
