"""What the benchmarks of networks take from experiment files, and the variants that they compare."""

import argparse
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from pydoc import locate
from typing import Any, Literal

import torch
import yaml
from torch import nn

from refinenet_pl.benchmarks.rows import Row
from refinenet_pl.benchmarks.work import parameter_count
from refinenet_pl.cli.parser import Parser
from refinenet_pl.data import *  # noqa: F403  (so that yaml can name its classes without their modules)
from refinenet_pl.errors import UserError
from refinenet_pl.files import read_yaml
from refinenet_pl.studies.composition import merge
from refinenet_pl.text import join
from refinenet_pl.training.compilation import compile_children

Precision = Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true"]
DTYPES = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}


@dataclass(frozen=True)
class Variant:
    """How a network computes.

    Attributes:
        precision: As of Lightning's trainer: "mixed" is autocast, "true" converts network and images.
        channels_last: Layout of weights and images.
        compile: Compile the network with torch.compile.
    """

    precision: Precision = "32-true"
    channels_last: bool = True
    compile: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """The type of numbers in convolutions."""
        return DTYPES[self.precision.partition("-")[0]]

    @property
    def layout(self) -> torch.memory_format:
        """The memory format."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def prepare(self, network: nn.Module, device: str) -> nn.Module:
        """Return a copy of a network for this variant on a device."""
        network = deepcopy(network).to(device).to(memory_format=self.layout)
        if self.precision.endswith("true"):
            network = network.to(self.dtype)
        if self.compile:
            compile_children(network)
        return network

    def images(self, shape: Sequence[int], device: str) -> torch.Tensor:
        """Return random normalized images for this variant."""
        dtype = self.dtype if self.precision.endswith("true") else torch.float32
        return torch.randn(*shape).to(device, dtype).contiguous(memory_format=self.layout)

    def context(self, device: str) -> AbstractContextManager[Any]:
        """Return the context to compute in."""
        mixed = self.precision.endswith("mixed")
        return torch.autocast(device.partition(":")[0], self.dtype) if mixed else nullcontext()

    def __str__(self) -> str:
        words = ([] if self.channels_last else ["contiguous"]) + (["compiled"] if self.compile else [])
        return ", ".join([self.precision, *words])


def variants(precision: Sequence[Precision], channels_last: Sequence[bool], compiled: Sequence[bool]) -> list[Variant]:
    """Return every combination.

    Raises:
        UserError: A list is empty.
    """
    found = [Variant(*values) for values in product(precision, channels_last, compiled)]
    if not found:
        raise UserError("precision, channels_last and compile: expected one value or more each")
    return found


def call(function: Callable[..., Any], prog: str, args: list[str], keys: Mapping[str, str]) -> Any:
    """Call a benchmark with the options of a command, and return its result.

    Args:
        function: The benchmark. Its arguments are the options.
        prog: Name of the command, for messages.
        args: The words of the command.
        keys: The key in an experiment of each option that `--experiment` fills in.

    Raises:
        UserError: An option is wrong.
    """
    description = (inspect.getdoc(function) or "").partition("\n\nArgs:")[0]
    parser = Parser(prog=prog, description=description)
    parser.add_argument("--config", action="config", help="YAML with these options.")
    parser.add_argument(
        "--experiment",
        nargs="+",
        type=str,
        help=f"Experiment files, such as a dataset and a recipe, for {join(keys)}; options override them.",
    )
    parser.add_function_arguments(function)
    options = parser.instantiate_classes(parser.parse_args(expand_options(args, keys)))
    return function(**{name: value for name, value in vars(options).items() if name not in ("config", "experiment")})


def expand_options(args: list[str], keys: Mapping[str, str]) -> list[str]:
    """Expand options that are easier to write than those of the parser.

    - `--experiment FILE ...` becomes a `--config` with the options of a benchmark that these files hold.
    - `--against CALL`, which may come several times, `--ckpt_path PATH ...` and `--exported FILE ...` become lists.

    Args:
        args: The words of the command.
        keys: The key in an experiment of each option.

    Raises:
        UserError: A file cannot be read, or they name no network.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--experiment", nargs="+", default=[])
    parser.add_argument("--ckpt_path", nargs="+", default=[])
    parser.add_argument("--exported", nargs="+", default=[])
    parser.add_argument("--against", action="append", default=[])
    given, rest = parser.parse_known_args(args)
    lists = {"ckpt_path": given.ckpt_path, "exported": given.exported, "against": given.against}
    rest += [f"--{name}={json.dumps(values)}" for name, values in lists.items() if values]
    if not given.experiment:
        return rest
    config = merged_experiment(given.experiment)
    options = {option: value for option, key in keys.items() if (value := _value(config, key)) is not None}
    if not isinstance(options.get("network"), dict) or "class_path" not in options["network"]:
        raise UserError(f"--experiment {' '.join(given.experiment)}: found no model.network.class_path")
    arguments = options["network"].setdefault("init_args", {})
    arguments["encoder_weights"] = None  # time does not depend on the weights
    data = config.get("data")
    if isinstance(data, dict) and isinstance(cls := locate(f"refinenet_pl.data.{data.get('class_path')}"), type):
        arguments.setdefault("classes", len(cls.configured_classes(**(data.get("init_args") or {}))))  # type: ignore[attr-defined]
    return ["--config", yaml.safe_dump(options), *rest]


def merged_experiment(files: Sequence[str]) -> dict[str, Any]:
    """Merge experiment files as several --config are merged; raise UserError if one cannot be read."""
    config: dict[str, Any] = {}
    for file in files:
        merge(config, read_yaml(file, "experiment"))
    return config


def _value(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config.get(part) if isinstance(config, dict) else None
    return config


def network_columns(network: nn.Module, variant: Variant) -> Row:
    """Return the columns of a network and its variant."""
    return {
        "network": type(network).__name__,
        "parameters": parameter_count(network),
        "variant": str(variant),
        "precision": variant.precision,
        "channels_last": variant.channels_last,
        "compile": variant.compile,
    }


def existing(paths: Sequence[Path]) -> None:
    """Raise UserError for the first path that does not exist."""
    for path in paths:
        if not path.exists():
            raise UserError(f"--ckpt_path: no file or folder {path}")
