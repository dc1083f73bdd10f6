"""`refinenet why`: where two trainings part."""

from pathlib import Path

from jsonargparse import auto_cli

from refinenet_pl.files import read_json
from refinenet_pl.runs import RunFolder
from refinenet_pl.training.run_differences import manifest_differences, step_difference

ADVICE = "a training of this version writes it when it starts; train the run again"


def run(name: str, args: list[str]) -> int:
    """Parse the options and compare; return 0 if no difference is found, else 1."""
    return int(auto_cli(explain, args=args, prog=f"refinenet {name}"))


def explain(run_a: Path, run_b: Path) -> int:
    """Name the first place where two trainings part.

    It compares code, packages, machine, data and configuration, then the first training steps: samples, pixels,
    initial weights, activations, loss and gradients. The exit status is 0 if no difference is found, and 1 if one is.

    Args:
        run_a: Run folder of a training, with its manifest.json and first_steps.json.
        run_b: The run folder to compare with.
    """
    a, b = RunFolder(run_a), RunFolder(run_b)
    settings = manifest_differences(read_json(a.manifest, ADVICE), read_json(b.manifest, ADVICE))
    records = read_json(a.first_steps, ADVICE), read_json(b.first_steps, ADVICE)
    step = step_difference(*records)
    print(f"A: {run_a}\nB: {run_b}")
    print("\n  ".join([f"settings: {len(settings) or 'no'} difference{'s' * (len(settings) != 1)}", *settings]))
    print(f"first steps: {step or 'no difference found in the first {} steps'.format(len(records[0]['steps']))}")
    return 1 if settings or step else 0
