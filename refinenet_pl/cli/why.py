"""`refinenet why`: where two trainings part."""

from pathlib import Path

from jsonargparse import auto_cli

from refinenet_pl.cli.parser import Parser
from refinenet_pl.errors import UserError
from refinenet_pl.files import read_json
from refinenet_pl.runs import RunFolder
from refinenet_pl.training.run_differences import manifest_differences, step_difference

ADVICE = "a training of this version writes it when it starts; train the run again"


def run(name: str, args: list[str]) -> int:
    """Parse the options and compare; return 0 if no difference is found, else 1."""
    return int(auto_cli(explain, args=args, prog=f"refinenet {name}", parser_class=Parser))


def explain(run_a: Path, run_b: Path) -> int:
    """Name the first place where two trainings part.

    It compares code, packages, machine, data and configuration, then the first training steps: samples, pixels,
    initial weights, activations, loss and gradients. The exit status is 0 if no difference is found, and 1 if one is.

    Args:
        run_a: Run folder of a training, with its manifest.json and first_steps.json.
        run_b: The run folder to compare with.
    """
    a, b = RunFolder(run_a), RunFolder(run_b)
    manifests = [read_json(run.manifest, ADVICE, {"code": dict}) for run in (a, b)]
    records = [read_json(run.first_steps, ADVICE, {"weights": dict, "steps": list}) for run in (a, b)]
    try:
        settings, step = manifest_differences(*manifests), step_difference(*records)
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # a value is missing, or of another type
        raise UserError(
            f"{run_a} and {run_b}: {a.manifest.name} or {a.first_steps.name} is incomplete ({error!r}); {ADVICE}"
        ) from error
    print(f"A: {run_a}\nB: {run_b}")
    print("\n  ".join([f"settings: {len(settings) or 'no'} difference{'s' * (len(settings) != 1)}", *settings]))
    print(f"first steps: {step or 'no difference found in the first {} steps'.format(len(records[0]['steps']))}")
    return 1 if settings or step else 0
