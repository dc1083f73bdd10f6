"""`refinenet replay`: the step that stopped a training, run again under anomaly detection."""

import logging
import tempfile
from pathlib import Path

import pytorch_lightning as pl
import yaml
from pytorch_lightning.cli import LightningArgumentParser

from refinenet_pl.cli.parser import Parser
from refinenet_pl.errors import UserError
from refinenet_pl.training.replay import REPLAY_KEY, read_replay, replay
from refinenet_pl.training.task import SegmentationTask
from refinenet_pl.weights.checkpoint import run_config
from refinenet_pl.weights.trust import check_section


def run(name: str, args: list[str]) -> int:
    """Parse the options and run the step; return 1 if it fails again, else 0."""
    parser = Parser(prog=f"refinenet {name}")
    parser.add_function_arguments(replay_step, as_positional=True, skip={"trust"})
    help_text = "Let the file name any class. A class of a stranger's file runs code."
    parser.add_argument("--trust", action="store_true", help=help_text)
    return replay_step(**parser.parse_args(args).as_dict())


def replay_step(file: Path, trust: bool = False) -> int:
    """Run the training step again that was not finite, and print the first place where it fails.

    The exit status is 1 if it is not finite again, and 0 if it is finite.

    Args:
        file: The file replay.pt of a run folder. The message of a training that stopped names it.
        trust: Let the file name any class. A class of a stranger's file runs code.
    """
    content = read_replay(file)
    config = run_config(content, file)
    if not trust:
        check_section("model", config.get("model"), file)
    step = content[REPLAY_KEY]
    names = (name for batch in step["batches"] for name in batch["name"])
    print(f"recorded: {step['finding']}\nsamples: {', '.join(names)}")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)  # not the devices, which do not matter here
    with tempfile.TemporaryDirectory() as folder:
        result = replay(build_task(config, file), content, folder)
    print("\n".join(result.lines))
    print("replayed: all values are finite" if result.finite else "replayed: not finite again")
    return 0 if result.finite else 1


def build_task(config: dict[str, object], source: Path) -> pl.LightningModule:
    """Build the task of a run's configuration, with random weights.

    Raises:
        UserError: The configuration describes no task.
    """
    model = config.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("network"), dict):
        raise UserError(f"{source}: its configuration has no network; expected the configuration of a training")
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_lightning_class_args(SegmentationTask, "model")
    model |= {"compile": False, "encoder_weights": None}
    if "encoder_weights" in model["network"].get("init_args", {}):
        model["network"]["init_args"]["encoder_weights"] = None
    return parser.instantiate_classes(parser.parse_string(yaml.safe_dump({"model": model}))).model
