"""Checks the keys and the paths of a configuration before torch is loaded, so that a mistake is told at once.

The full parser checks everything again, with all types. Here, what cannot be told from sources passes.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from refinenet_pl.cli import catalog
from refinenet_pl.cli.signatures import arguments, find_class, is_dataclass
from refinenet_pl.data import DATASETS
from refinenet_pl.errors import UserError
from refinenet_pl.files import expand, read_yaml
from refinenet_pl.runs import RunFolder
from refinenet_pl.text import join, nearest, with_help

SECTIONS = {"model": "SegmentationTask", "trainer": "pytorch_lightning.Trainer", "checkpoint": "RunCheckpoints"}
"""Sections whose class is fixed. That of the others follows from their `class_path`."""
SLOTS = ("data", "model.network", "model.loss", "model.optimizer", "model.schedule")
"""Keys whose value is a class; the name of the class alone is a value too."""
DEFAULTS = {"model.loss": "CrossEntropy", "model.schedule": "Poly", "model.optimizer": "torch.optim.SGD"}
"""Classes of a training that names none. A checkpoint holds its own."""
TOP = {
    *SECTIONS,
    *("config", "c", "help", "h", "print_config", "seed_everything", "ckpt_path", "weights_only"),
    *("data", "experiment", "runs", "trust", "threads", "pictures"),
}
PREDICTION = {"images", "num_workers", "output", "opacity", "probabilities", "video_masks", "submission"}
TOP_OF = {"fit": TOP, "validate": TOP, "test": TOP, "predict": TOP | PREDICTION}
"""The first words of the options, by command."""
WEIGHT_FILES = ("model.weights", "model.encoder_weights", "model.network.encoder_weights")
LEFT_OUT = ("init_args", "dict_kwargs")


class Setting(NamedTuple):
    """A key of a file or an option.

    Attributes:
        key: The key without `init_args`, such as "data.crop_size".
        value: Its value.
        source: Where it stands, such as "mine.yaml: data.init_args.crop_size", for messages.
    """

    key: str
    value: Any
    source: str


def check_settings(command: str, options: Sequence[str]) -> None:
    """Check the keys and paths that the options and their --config files give.

    Args:
        command: "fit", "validate", "test" or "predict".
        options: Its options.

    Raises:
        UserError: A key is unknown, a file or a folder is missing, or an evaluation has no checkpoint.
    """
    words = [(word.lstrip("-"), value) for word, value in split_options(options)]
    names = {word for word, _ in words}
    if command != "fit" and not names & {"ckpt_path", "config", "c"}:
        raise UserError(missing_checkpoint(command))
    known = Keys(command, SECTIONS if "ckpt_path" in names else SECTIONS | DEFAULTS)
    given = {}
    for key, value in words:
        if key in ("config", "c"):
            for setting in known.walk(read_config(value), str(value)):
                given[setting.key] = setting
        elif key in ("images", "trust"):
            given[key] = Setting(key, value, f"--{key}")
        else:
            for setting in known.walk_option(key, value):
                given[setting.key] = setting
    if "print_config" not in given:
        check_paths(given, known.classes)


def split_options(options: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yield each option and its value: None without one, a list for several."""
    starts = [index for index, word in enumerate(options) if word.startswith("-") and not _is_number(word)]
    for start, end in zip(starts, [*starts[1:], len(options)], strict=True):
        word, equals, value = options[start].partition("=")
        values = [*([value] if equals else []), *options[start + 1 : end]]
        yield word, values if len(values) > 1 else next(iter(values), None)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def read_config(path: object) -> Mapping[str, Any]:
    """Read a file of --config; text in its place is left to the parser.

    Raises:
        UserError: There is no such file.
    """
    if not isinstance(path, str) or not path or any(letter in path for letter in ":{\n"):
        return {}
    if not Path(path).is_file():
        folder = Path(path).parent
        similar = get_close_matches(Path(path).name, [file.name for file in folder.glob("*.yaml")], n=1)
        question = f"; did you mean {folder / similar[0]}?" if similar else ""
        raise UserError(f"--config: no file {path}; expected a yaml file{question}")
    return read_yaml(path, "--config")


def missing_checkpoint(command: str) -> str:
    """Return the message for an evaluation without a checkpoint."""
    return (
        f"{command} needs a trained network: give --ckpt_path with a checkpoint, such as "
        f"RUN/{RunFolder(Path()).best_checkpoint}, a run folder or a weights folder"
    )


class Keys:
    """The keys that a configuration may have, as far as its classes are known.

    Args:
        command: The command.
        classes: By key, the class that is configured there, as far as it is known before any file is read.
    """

    def __init__(self, command: str, classes: Mapping[str, str]) -> None:
        self.command = command
        self.classes = dict(classes)

    def walk_option(self, key: str, value: Any) -> Iterator[Setting]:
        """Check an option, such as `model.network.encoder_name`, and yield its settings."""
        words = [word for word in key.removesuffix("+").split(".") if word not in LEFT_OUT]
        if words[-1] in ("class_path", "help"):
            words.pop()
        for end in range(len(words)):
            if end > 1 and words[0] in ("trainer", "checkpoint"):
                return
            if end > 0 and "dict_kwargs" in key:
                return
            prefix = "".join(f"{word}." for word in words[:end])
            self._check(prefix.rstrip("."), words[end], f"--{key}", f"--{prefix}")
        name = ".".join(words)
        yield from self._visit(name, _parsed(value), f"--{key}")

    def walk(self, content: Mapping[str, Any], file: str) -> Iterator[Setting]:
        """Check the content of a file, and yield its settings."""
        for name, value in content.items():
            self._check("", str(name), f"{file}: {name}")
            yield from self._visit(str(name), value, f"{file}: {name}")

    def _visit(self, key: str, value: Any, source: str) -> Iterator[Setting]:
        yield Setting(key, value, source)
        if isinstance(value, str) and key in SLOTS:
            self._name_class(key, value, source)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, Mapping) and "class_path" in item:
                    yield from self._visit(f"{key}.{index}", item, f"{source}[{index}]")
        elif isinstance(value, Mapping) and not key.startswith(("trainer.", "checkpoint.")):
            if isinstance(value.get("class_path"), str):
                self._name_class(key, value["class_path"], f"{source}.class_path")
            inner = value.get("init_args") if "class_path" in value or "init_args" in value else value
            place = f"{source}.init_args" if inner is not value else source
            for name, item in inner.items() if isinstance(inner, Mapping) else ():
                self._check(key, str(name), f"{place}.{name}")
                yield from self._visit(f"{key}.{name}", item, f"{place}.{name}")

    def _name_class(self, key: str, name: str, source: str) -> None:
        choices = {"data": catalog.data_modules, "model.network": catalog.networks}.get(key)
        if choices and "." not in name and find_class(name) is None:
            expected = f"expected one of {join(choices())}, or package.module.Class"
            question = nearest(name, choices()) or nearest(f"{name}DataModule", choices())
            raise UserError(f"{source}: no class '{name}'; {expected}{question}")
        self.classes[key] = name

    def _check(self, parent: str, name: str, source: str, prefix: str = "") -> None:
        names = self.names(parent)
        if names is None or name in names:
            return
        known = parent in self.classes and parent not in SECTIONS
        owner = self.classes[parent].rpartition(".")[2] if known else parent or self.command
        question = nearest(name, names, prefix)
        message = f"{source}: {owner} has no option '{name}'{question}"
        raise UserError(with_help(message, f"refinenet {self.command}"))

    def names(self, key: str) -> Collection[str] | None:
        """Return the names below a key; None if they are not known."""
        if not key:
            return TOP_OF[self.command]
        if key in self.classes:
            return arguments(self.classes[key])
        parent, _, name = key.rpartition(".")
        annotation = (arguments(self.classes[parent]) or {}).get(name, "") if parent in self.classes else ""
        return arguments(annotation) if annotation.isidentifier() and is_dataclass(annotation) else None


def _parsed(value: Any) -> Any:
    """Return the mapping or the list that the value of an option stands for; other values as they are."""
    if not isinstance(value, str) or value[:1] not in ("{", "["):
        return value
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:  # the parser tells it
        return value


def check_paths(given: Mapping[str, Setting], classes: Mapping[str, str]) -> None:
    """Check that the files and folders of a configuration exist.

    Args:
        given: The settings by key.
        classes: By key, the class that is configured there.

    Raises:
        UserError: One is missing.
    """
    # A checkpoint replaces the weights that its training started from: their files may be gone.
    for key in ("ckpt_path",) if "ckpt_path" in given else WEIGHT_FILES:
        setting = given.get(key)
        if setting and _is_path(setting.value) and not expand(setting.value, key).exists():
            raise UserError(f"{setting.source}: no file {setting.value}; expected a file or a folder that exists")
    images = given["images"].value if "images" in given else []
    for path in [images] if isinstance(images, str) else images or []:
        if not expand(path, "images").exists():
            raise UserError(
                f"--images: {path}: no such file or folder; expected image files, folders of images, or videos"
            )
    dataset = classes.get("data", "").rpartition(".")[2]
    names = {name: short for short, name in DATASETS.items() if short != "scenes"}  # scenes are drawn
    root = given.get("data.root")
    if root and dataset in {*names, "FolderDataModule"} and _is_path(root.value):
        folder = expand(root.value, "data.root")
        if not folder.exists():
            advice = f"; to get the data: refinenet data prepare {names[dataset]}" if dataset in names else ""
            raise UserError(f"{root.source}: no folder {folder}; give the dataset's folder with --data.root{advice}")


def _is_path(value: Any) -> bool:
    """Return whether a value is a path, and not the name of weights, such as `imagenet`, or null."""
    return isinstance(value, str) and ("/" in value or Path(value).suffix != "") and not value.startswith("http")
