"""`refinenet list`: the recipes, datasets, networks, losses or encoders that there are."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from refinenet_pl.cli import catalog
from refinenet_pl.errors import UserError
from refinenet_pl.text import join

KINDS: dict[str, tuple[Callable[[], dict[str, str]], str]] = {
    "recipes": (partial(catalog.experiments, "recipes"), "--config experiments/recipes/NAME.yaml, after the dataset"),
    "datasets": (
        partial(catalog.experiments, "datasets"),
        "--config experiments/datasets/NAME.yaml; for your own data: data.class_path: FolderDataModule",
    ),
    "networks": (
        catalog.networks,
        "--model.network NAME; also segmentation_models_pytorch.NAME, such as segmentation_models_pytorch.FPN, and "
        "package.module.NAME of your own",
    ),
    "losses": (catalog.losses, "--model.loss NAME; also package.module.NAME of your own"),
    "encoders": (
        catalog.encoders,
        "--model.network.encoder_name NAME, here with the weights that can be downloaded; also tu-NAME with a name of "
        "timm, which `python -c 'import timm; print(*timm.list_models(), sep=\"\\n\")'` lists",
    ),
}
"""What can be listed, and how to use a name."""


def run(name: str, args: Sequence[str]) -> None:
    """Print one list, or the help.

    Raises:
        UserError: No such list exists.
    """
    kinds = join(KINDS).replace(", ", "|")
    if not args or {"-h", "--help"} & {*args}:
        print(f"usage: refinenet {name} {kinds}\n\nList what there is by name, with one line each.")
        return
    if len(args) > 1 or args[0] not in KINDS:
        raise UserError(f"refinenet {name}: found {' '.join(args)!r}; expected one of {kinds}")
    entries, use = KINDS[args[0]]
    print(f"{table(entries())}\n\nuse: {use}")


def table(entries: Mapping[str, str]) -> str:
    """Return names with one line each, in two columns."""
    width = max(map(len, entries), default=0)
    return "\n".join(f"  {name:<{width}}  {summary}".rstrip() for name, summary in entries.items())
