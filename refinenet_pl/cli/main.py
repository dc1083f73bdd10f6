"""The `refinenet` command. Answers --help and --version without loading torch."""

import sys
from collections.abc import Sequence
from importlib import import_module

import refinenet_pl
from refinenet_pl.errors import UserError

COMMANDS = {
    "fit": "refinenet_pl.cli.lightning",
    "validate": "refinenet_pl.cli.lightning",
    "test": "refinenet_pl.cli.lightning",
    "predict": "refinenet_pl.cli.lightning",
    "compare": "refinenet_pl.cli.compare",
    "weights": "refinenet_pl.cli.weights",
    "class-weights": "refinenet_pl.cli.class_weights",
    "benchmark": "refinenet_pl.cli.benchmark",
    "study": "refinenet_pl.cli.study",
}
"""The module whose `run(args)` answers each command, imported only then; `args` starts with the command."""

USAGE = f"""refinenet {refinenet_pl.__version__}: RefineNet for semantic segmentation, on PyTorch Lightning

usage: refinenet COMMAND [OPTIONS]

commands:
  fit            train, then evaluate the best checkpoint on the validation split
  validate       evaluate a checkpoint on the validation split
  test           evaluate a checkpoint on the test split
  predict        write masks and overlays for any images, or a test server's archive
  compare        compare two runs over the same images, class by class, with intervals
  weights        convert published weights, or export a checkpoint, to a folder that --ckpt_path takes
  class-weights  weight the classes by how rare they are in the training split
  benchmark      measure time and memory of inference
  study          run a table of experiments, each cell a training, and report on it

  refinenet fit --config experiments/quickstart.yaml
  refinenet validate --ckpt_path runs/EXPERIMENT/RUN/checkpoints/best.ckpt
  refinenet predict --ckpt_path runs/EXPERIMENT/RUN/checkpoints/best.ckpt --images PHOTOS/ --output PREDICTIONS/

A checkpoint knows the configuration that it was trained with; --config and options override it.
refinenet COMMAND --help lists every option; --version prints the version.
"""


def main(args: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        args: The command and its options; by default the process's own.

    Returns:
        The exit status: 0, 2 after a mistake of the user's, 130 after Ctrl-C.
    """
    args = list(sys.argv[1:] if args is None else args)
    if not args or args[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    if args[0] == "--version":
        print(refinenet_pl.__version__)
        return 0
    try:
        if args[0] not in COMMANDS:
            raise UserError(f"no command {args[0]!r}; expected one of {', '.join(COMMANDS)} (see refinenet --help)")
        import_module(COMMANDS[args[0]]).run(args)
    except UserError as error:
        # A worker process wraps the message in its own traceback: the last one is what the user can mend.
        print(f"refinenet: error: {str(error).rpartition('UserError: ')[2].strip()}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0
