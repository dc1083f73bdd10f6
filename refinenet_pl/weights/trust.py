"""What the configuration in a file may choose, where the file comes from somebody else.

The configurations in checkpoints and run folders name classes and arguments, and LightningCLI imports and calls what
they name. The check here runs on plain values before that. It imports nothing that a file names.

- A class is one of a short list for its place: `model.network`, `model.loss`, `trainer.callbacks`, ... Its arguments
  hold no other classes, except that a loss holds losses.
- Text that jsonargparse could read as a class, as YAML or as the name of a file stands only where text is expected.
- Nothing names a folder to write to.
"""

import inspect
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import segmentation_models_pytorch as smp
from segmentation_models_pytorch.base import SegmentationModel

from refinenet_pl import networks
from refinenet_pl.class_paths import class_paths, is_class_path
from refinenet_pl.errors import UserError
from refinenet_pl.text import join
from refinenet_pl.weights.allowed import (
    DATA,
    ENCODER,
    EXPRESSION_KEY,
    FILE_NAMES,
    FOLDERS,
    KEY,
    LOGGERS,
    LONG_REPEAT,
    LOSSES,
    MOST_LONG_REPEATS,
    MOST_OPTIONAL,
    NETWORKS,
    OPTIONAL,
    PLACES,
    REPEATED_GROUP,
    REPLACED_FOLDERS,
    SECTIONS,
    TABLES,
    TEXT,
    TRANSFORMS,
    WANDB_ARGUMENTS,
    WORDS,
    Names,
)

EXPECTED_NETWORK = (
    "expected a class of refinenet_pl.networks or segmentation_models_pytorch, because a file must not choose other "
    "code to run. Build other networks in your own code: refinenet_pl.load(path, network=YourNetwork(...))"
)
TRUST_OPTION = "If you know who made the file, add --trust"


def check_config(config: Mapping[str, Any], source: str | Path, trusted: Collection[str] = ()) -> None:
    """Check that the configuration in a file chooses nothing that could run code or write to other places.

    Args:
        config: The configuration, as plain values. Sections other than SECTIONS are not checked.
        source: The file, for the message.
        trusted: Paths of other classes that the file may name anywhere, since the user has named them.

    Raises:
        UserError: The configuration names another class, or holds a value that is not allowed.
    """
    sections = {key: config[key] for key in SECTIONS if key in config}
    findings = dict(_findings(sections, "", _Rules(trusted)))
    for key in ("model", "trainer", "checkpoint"):
        if not isinstance(config.get(key, {}), Mapping):
            findings[key] = repr(config[key])[:80]
    _refuse(findings, source, f"{TRUST_OPTION}, or give a configuration of your own with --config")


def check_section(
    key: str, value: Any, source: str | Path, trusted: Collection[str] = (), advice: str = TRUST_OPTION
) -> None:
    """Check one section of a configuration, such as "data" or "model.network", as `check_config` does.

    Args:
        key: The section's key.
        value: The section.
        source: The file, for the message.
        trusted: As for `check_config`.
        advice: What the user can do. The error message ends with it.

    Raises:
        UserError: As for `check_config`.
    """
    _refuse(dict(_findings(value, key, _Rules(trusted, PLACES.get(key)))), source, advice)


def _refuse(findings: Mapping[str, str], source: str | Path, advice: str) -> None:
    if findings:
        text = join((f"{key} is {value}" for key, value in findings.items()), 8)
        found = "".join(character if character.isprintable() else "?" for character in text)
        raise UserError(
            f"{source}: its configuration asks for what the file of a stranger may not choose, so nothing of it was "
            f"imported or run: {found}. {advice}"
        )


@dataclass(frozen=True)
class _Rules:
    """What may stand at one place: classes that match `names`, the user's classes, and text.

    Attributes:
        trusted: Classes that the user has named.
        names: Other classes that are allowed here; None for no class.
        own: Whether the place is an argument of one of the user's classes, of which nothing is known.
    """

    trusted: Collection[str]
    names: Names | None = None
    own: bool = False

    def allow_class(self, name: object) -> bool:
        return isinstance(name, str) and (name in self.trusted or self.allow_known_class(name))

    def allow_known_class(self, name: str) -> bool:
        return self.names is not None and self.names.fullmatch(name) is not None

    def allow_text(self, key: str, value: str) -> bool:
        if self.names is not None:
            return self.allow_class(value)
        return _is_no_class(value) if self.own else _is_allowed_text(key, value)


def _findings(value: Any, key: str, rules: _Rules) -> Iterator[tuple[str, str]]:
    """Yield the key and a description of everything that is not allowed."""
    if isinstance(value, Mapping) and value.keys() & {"class_path", "init_args", "dict_kwargs"}:
        yield from _class_findings(value, key, rules)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            path = f"{key}.{name}".removeprefix(".")
            if not isinstance(name, str) or not KEY.fullmatch(name):
                yield path, "a key that is no name"
            else:
                yield from _findings(item, path, replace(rules, names=PLACES.get(path)))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _findings(item, key, rules)
    elif isinstance(value, str):
        if not rules.allow_text(key, value):
            yield key, repr(value[:80])
    elif value is not None and not isinstance(value, bool | int | float):
        yield key, f"of type {type(value).__name__}"


def _class_findings(value: Mapping[str, Any], key: str, rules: _Rules) -> Iterator[tuple[str, str]]:
    name, arguments = value.get("class_path"), value.get("init_args") or {}
    if not isinstance(name, str) or not rules.allow_class(name):
        yield key, str(name)[:200]
        return
    others = value.keys() - {"class_path", "init_args"}
    if not isinstance(arguments, Mapping) or any(value[other] for other in others):
        yield key, f"{name} with {join(sorted(map(str, others))) or 'init_args that are no mapping'}"
        return
    known = rules.allow_known_class(name)
    if known and rules.names is NETWORKS:
        yield from _network_findings(name, arguments, key)
        return
    for argument, item in arguments.items():
        path = f"{key}.init_args.{argument}"
        if not KEY.fullmatch(str(argument)):
            yield path, "a key that is no name"
        elif known and rules.names is LOGGERS and name.endswith("WandbLogger") and argument != "config":
            if item and not (argument in WANDB_ARGUMENTS and _is_flat(item)):
                yield path, repr(item)[:80]
        elif known and rules.names is DATA and argument in TABLES:
            if item and not (isinstance(item, Mapping) and all(map(_is_flat, (*item, *item.values())))):
                yield path, repr(item)[:80]
        else:
            names = _nested_names(rules.names, argument) if class_paths(item) else None
            yield from _findings(item, path, _Rules(rules.trusted, names, own=not known))


def _nested_names(names: Names | None, argument: object) -> Names | None:
    """Return the classes that an argument of a class may hold: losses hold losses, data modules hold transforms."""
    if names is LOSSES:
        return LOSSES
    return TRANSFORMS if names is DATA and argument == "transforms" else None


def _network_findings(name: str, arguments: Mapping[str, Any], key: str) -> Iterator[tuple[str, str]]:
    try:
        found = network_findings(network_class(name), arguments)
    except UserError:
        yield key, name
    else:
        yield from ((f"{key}.init_args.{argument}", text) for argument, text in found.items())


def network_class(name: str) -> type[SegmentationModel]:
    """Return a network class of refinenet_pl.networks or segmentation_models_pytorch.

    Args:
        name: The name of the class, alone or with its module. The module is compared, not imported.

    Raises:
        UserError: Neither package has such a network.
    """
    module, _, class_name = name.rpartition(".")
    network_type = getattr(networks, class_name, None) or getattr(smp, class_name, None)
    if not (isinstance(network_type, type) and issubclass(network_type, SegmentationModel)):
        raise UserError(f"found the network class {name}; {EXPECTED_NETWORK}")
    if module and _package(module) != _package(network_type.__module__):  # a user's class that has the same name
        raise UserError(f"found the network class {name}; {EXPECTED_NETWORK}")
    return network_type


def _package(module: str) -> str:
    return module.partition(".")[0]


def network_findings(network_type: type[SegmentationModel], arguments: Mapping[str, Any]) -> dict[str, str]:
    """Return the arguments of a network of the two packages that a file may not choose, with a description of each.

    Arguments that the class does not name hold numbers only: smp's networks pass them on to timm, which reads files.
    """
    parameters = inspect.signature(network_type).parameters.values()
    named = {parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD}
    findings = {}
    for argument, value in arguments.items():
        if argument not in named:
            if isinstance(value, str | list | tuple) or not _is_flat(value):
                findings[argument] = f"{repr(value)[:80]}, an argument that {network_type.__name__} does not name"
        elif argument == "encoder_name":
            if not (isinstance(value, str) and ENCODER.fullmatch(value)):
                findings[argument] = repr(value)[:80]
        elif argument != "encoder_weights" or not isinstance(value, str):
            findings |= dict(_findings(value, argument, _Rules(())))
    return findings


def _is_allowed_text(key: str, value: str) -> bool:
    if key == EXPRESSION_KEY:
        return _is_quick(value)
    if TEXT.fullmatch(key):
        return True
    if key.rpartition(".")[2] in FOLDERS:
        return not value or key in REPLACED_FOLDERS
    if key in FILE_NAMES:
        path = PurePath(value)
        return not path.is_absolute() and ".." not in path.parts and "\\" not in value
    # jsonargparse reads the name of a file in place of its content.
    return WORDS.fullmatch(value) is not None and "class_path" not in value and not os.path.isfile(value)


def _is_quick(expression: str) -> bool:
    """Return whether a regular expression can be searched in a name without backtracking for long."""
    return (
        len(expression) <= 100
        and REPEATED_GROUP.search(expression) is None
        and len(LONG_REPEAT.findall(expression)) <= MOST_LONG_REPEATS
        and len(OPTIONAL.findall(expression)) <= MOST_OPTIONAL
    )


def _is_no_class(value: str) -> bool:
    """Return whether a text cannot be read as a path of a class, or as one in YAML or JSON."""
    return not is_class_path(value) and "class_path" not in value and not set("{}\\") & set(value)


def _is_flat(value: Any) -> bool:
    """Return whether a value is a number, a text or None, or a list of these."""
    items = value if isinstance(value, list | tuple) else [value]
    return all(item is None or isinstance(item, str | int | float) for item in items)
