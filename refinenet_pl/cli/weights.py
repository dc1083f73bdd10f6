"""`refinenet weights`: published files and our own checkpoints, to weights folders."""

import json
from collections.abc import Sequence
from pathlib import Path
from pydoc import locate
from typing import Any

import yaml
from jsonargparse import ArgumentParser
from rich.console import Console
from rich.table import Table
from segmentation_models_pytorch.base import SegmentationModel

from refinenet_pl import data
from refinenet_pl.data.classes import Classes, voc_colors
from refinenet_pl.data.voc import VOC
from refinenet_pl.errors import UserError
from refinenet_pl.networks.encoders import IMAGENET_MEAN, IMAGENET_STD
from refinenet_pl.networks.state_dict import describe_mismatch
from refinenet_pl.preprocessing import Preprocessing
from refinenet_pl.weights.card import converted_card, trained_card
from refinenet_pl.weights.checkpoint import CONFIG_KEY, read_checkpoint
from refinenet_pl.weights.folder import network_class, write_weights_folder
from refinenet_pl.weights.published import PublishedWeights, load_published

DATASETS: dict[str, Classes] = {
    name.removesuffix("DataModule").lower(): getattr(data, name).classes
    for name in data.__all__
    if name != "SegmentationDataModule"
}


def run(args: list[str]) -> None:
    """Convert or export, as the words after the command say."""
    converting = ArgumentParser(description="Convert a published file to a weights folder.")
    converting.add_function_arguments(convert, as_positional=True, skip={"dataset", "ignore"})
    converting.add_argument("--dataset", choices=list(DATASETS), help="Whose names and colors the classes get.")
    converting.add_argument("--ignore", nargs="+", default=[], metavar="KEY", help="Keys that need not fit.")
    exporting = ArgumentParser(description="Export one of our checkpoints to a weights folder.")
    exporting.add_function_arguments(export, as_positional=True)
    parser = ArgumentParser(prog="refinenet weights")
    commands = parser.add_subcommands(required=True)
    commands.add_subcommand("convert", converting, help="a published file, to a weights folder")
    commands.add_subcommand("export", exporting, help="a checkpoint of ours, to a weights folder")
    parsed = parser.parse_args(args[1:])
    options = parsed[parsed.subcommand].as_dict()
    if parsed.subcommand == "convert":
        convert(**options)
    else:
        export(**options)


def convert(
    file: str, dataset: str | None = None, ignore: Sequence[str] = (), output: str | None = None, keys: bool = False
) -> None:
    """Convert a published file.

    Args:
        file: With weights of RefineNet or Light-Weight RefineNet, as their public PyTorch ports wrote them.
        dataset: Whose names and colors the classes get; None goes by their number.
        ignore: Keys that may be missing, left over or of another shape.
        output: Folder to write; by default the file's name without suffixes.
        keys: List each key and the name that it gets.
    """
    published = load_published(Path(file), ignore)
    Console().print(summary(published))
    if keys:
        print(*(f"{theirs} -> {ours}" for theirs, ours in published.mapping.items()), sep="\n")
    classes, source = name_classes(published.classes, dataset)
    print(f"class names: {source}" + ("" if dataset else "; --dataset takes a dataset's"))
    preprocessing = Preprocessing(
        list(IMAGENET_MEAN), list(IMAGENET_STD), list(classes.names), [list(color) for color in classes.colors]
    )
    folder = Path(output or Path(file).name.split(".")[0])
    write_weights_folder(folder, published.network, preprocessing, converted_card(published, Path(file).name, source))
    print(f"weights folder: {folder}")


def summary(published: PublishedWeights) -> Table:
    """What was found, in a few lines."""
    renamed = sum(theirs != ours for theirs, ours in published.mapping.items())
    table = Table(show_header=False, title="published weights")
    table.add_row("layout", published.architecture)
    table.add_row("classes", str(published.classes))
    table.add_row("wrapped in", published.wrapping)
    table.add_row("keys taken", f"{len(published.mapping)}, {renamed} of them renamed")
    table.add_row("ignored, left random", ", ".join(published.ignored) or "none")
    return table


def name_classes(count: int, dataset: str | None) -> tuple[Classes, str]:
    """Names and colors for so many classes, and in words where they come from.

    Raises:
        UserError: The dataset has another number of classes.
    """
    if dataset is None and count == len(VOC):
        return VOC, "PASCAL VOC's, assumed from their number"
    if dataset is None:
        numbered = Classes(tuple(f"class {i}" for i in range(count)), voc_colors(count))
        return numbered, "unknown, so that they are numbered"
    classes = DATASETS[dataset]
    if len(classes) != count:
        raise UserError(f"--dataset: {dataset} has {len(classes)} classes, but the network has {count}")
    return classes, f"{dataset}'s, as told"


def export(checkpoint: str, output: str | None = None) -> None:
    """Export one of our checkpoints.

    Args:
        checkpoint: As training wrote it, `RUN/checkpoints/best.ckpt`.
        output: Folder to write; by default the experiment's name.
    """
    path = Path(checkpoint)
    saved = read_checkpoint(path)
    config = yaml.safe_load(saved[CONFIG_KEY])
    averaged = "averaged over the training" if "averaging_state" in saved else "as the last step left them"
    model = config["model"]
    preprocessing = Preprocessing(model["mean"], model["std"], model["class_names"], model["class_colors"])
    weights = f"`{path.name}`, epoch {saved['epoch']}, step {saved['global_step']}, {averaged}"
    terms = getattr(locate(config["data"]["class_path"]), "terms", "unknown.")
    card = trained_card(config, terms, run_results(path), weights)
    folder = Path(output or config["experiment"])
    write_weights_folder(folder, trained_network(path, saved, config), preprocessing, card)
    print(f"weights: {weights}\nweights folder: {folder}")


def run_results(checkpoint: Path) -> dict[str, Any] | None:
    """Figures of the run's best checkpoint, if that is the one, and its run has any."""
    path = checkpoint.resolve().parent.parent / "results.json"
    if checkpoint.name != "best.ckpt" or not path.is_file():
        return None
    return json.loads(path.read_text())


def trained_network(path: Path, saved: dict[str, Any], config: dict[str, Any]) -> SegmentationModel:
    """The network of a checkpoint with its weights, averaged ones where the run averaged.

    Raises:
        UserError: It is no network that a weights folder can hold, or the weights are not of it.
    """
    section = config["model"]["network"]
    found = network_class(section["class_path"].rpartition(".")[2])
    if locate(section["class_path"]) is not found:
        raise UserError(f"{section['class_path']}: a weights folder can hold a {found.__name__}, but not that one")
    network = found(**section["init_args"] | {"encoder_weights": None})
    # Lightning's weight averaging keeps the averaged weights here, and the last step's elsewhere.
    state = {
        key.removeprefix("network."): value for key, value in saved["state_dict"].items() if key.startswith("network.")
    }
    if told := describe_mismatch(network.state_dict(), state):
        raise UserError(f"{path}: its weights are not of its configuration's network:{told}")
    network.load_state_dict(network.state_dict() | state)
    return network.eval()
