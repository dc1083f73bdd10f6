"""Compares the manifests and the first steps of two trainings, and names where they part."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from refinenet_pl.text import join

IRRELEVANT = (
    "code.",  # compared by `code_difference`
    "config.experiment",
    "config.runs",
    "config.pictures",
    "config.ckpt_path",
    "config.checkpoint.dirpath",
    "config.trainer.logger",
    "config.trainer.default_root_dir",
    "config.data.init_args.cache_dir",
    "config.data.init_args.root",  # its files are compared by their fingerprint
)
"""Keys of a manifest, or their beginnings, that no figure depends on."""


def manifest_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Return one line for each difference of two manifests that figures can depend on.

    Args:
        a: Manifest of training A, as `ManifestWriter` writes it.
        b: Manifest of training B.
    """
    lines = code_difference(a["code"], b["code"])
    values_a, values_b = dict(flatten(a)), dict(flatten(b))
    for key in {**values_a, **values_b}:
        if values_a.get(key) != values_b.get(key) and not key.startswith(IRRELEVANT):
            found = [str(values[key]) if key in values else "missing" for values in (values_a, values_b)]
            lines.append(f"{key}: {found[0]} in A, {found[1]} in B")
    return lines


def code_difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Compare the code of this package. Commits with the same sources are equal."""
    if a["sources"] == b["sources"]:
        return []
    names = [
        f"{code['commit'] or 'not in a git checkout'}{' with uncommitted changes' if code['dirty'] else ''}"
        for code in (a, b)
    ]
    return [f"code: {names[0]} in A, {names[1]} in B (sources {a['sources']} and {b['sources']})"]


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings by dotted keys."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def step_difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> str | None:
    """Return the first place where the recorded steps of two trainings part; None if there is none.

    Args:
        a: Record of training A, as `FirstSteps` writes it.
        b: Record of training B.
    """
    changed = changed_keys(a["weights"], b["weights"])
    if changed:
        return f"initial weights: {join(changed, 3)} ({len(changed)} of {len(a['weights'])} parts of the network)"
    for number, (step_a, step_b) in enumerate(zip(a["steps"], b["steps"], strict=False), 1):
        found = batch_difference(step_a, step_b) or computed_difference(step_a, step_b, number)
        if found:
            return f"step {number}, {found}"
    if len(a["steps"]) != len(b["steps"]):
        return f"number of recorded steps: {len(a['steps'])} in A, {len(b['steps'])} in B"
    return None


def batch_difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> str | None:
    """Return how two batches differ: in samples or their order, pixels, or labels."""
    if a["names"] != b["names"]:
        return f"samples or their order: {join(a['names'], 4)} in A, {join(b['names'], 4)} in B"
    for key, what in (("images", "pixels"), ("masks", "labels")):
        pairs = zip(a["names"], a[key], b[key], strict=True)
        if names := [name for name, one, other in pairs if one != other]:
            return f"{what} of {join(names, 4)}: the files or their augmentation differ"
    return None


def computed_difference(a: Mapping[str, Any], b: Mapping[str, Any], number: int) -> str | None:
    """Return where two steps on equal batches part: in the order of computation.

    Args:
        a: Recorded step of training A.
        b: Recorded step of training B.
        number: Number of the step. Before step 1 the weights are equal; before others, an update may have differed.
    """
    cause = (
        "weights and pixels are equal: dropout, precision, threads or device"
        if number == 1
        else "all before is equal, so the update did it: optimizer, learning rate, schedule or clipping"
    )
    if names := changed_keys(a["activations"], b["activations"]):
        return f"activations of {compared(names[0], a['activations'], b['activations'])} ({cause})"
    if a.get("loss") != b.get("loss"):
        return f"loss: {a.get('loss')} in A, {b.get('loss')} in B (the activations are equal: loss function)"
    gradients_a, gradients_b = a.get("gradients", {}), b.get("gradients", {})
    if names := changed_keys(gradients_a, gradients_b):
        # The backward pass starts at the last layer.
        return f"gradient of {compared(names[-1], gradients_a, gradients_b)} (the loss is equal)"
    return None


def compared(name: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """Return a name with its norms."""
    norms = [values[name]["norm"] if name in values else "missing" for values in (a, b)]
    return f"{name}: norm {norms[0]} in A, {norms[1]} in B"


def changed_keys(a: Mapping[str, Any], b: Mapping[str, Any]) -> Sequence[str]:
    """Return the keys with different values, in the order of the first mapping, then those that only b has."""
    return [key for key in {**a, **b} if a.get(key) != b.get(key)]
