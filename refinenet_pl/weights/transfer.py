"""Starts a network from the weights of another training: fine-tuning, also on other classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from refinenet_pl.errors import UserError
from refinenet_pl.runs import RunFolder
from refinenet_pl.text import join
from refinenet_pl.weights.building import build_preprocessing
from refinenet_pl.weights.checkpoint import is_checkpoint, network_state, read_checkpoint, run_config
from refinenet_pl.weights.folder import is_weights_folder, read_preprocessing, read_weights
from refinenet_pl.weights.published import load_published, published_classes


@dataclass(frozen=True)
class Transfer:
    """What a network took from other weights.

    Attributes:
        source: The file.
        loaded: Number of tensors that were taken whole.
        rows: Names of the classes whose rows of the last layer were taken.
        left_out: Keys of the source that were not taken, with the reason.
        missing: Keys of the network that keep their values, because the source lacks them.
    """

    source: Path
    loaded: int
    rows: tuple[str, ...]
    left_out: tuple[str, ...]
    missing: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"weights: {self.loaded} tensors from {self.source}"]
        if self.rows:
            parts.append(f"rows of {len(self.rows)} classes by name: {join(self.rows, 8)}")
        if self.left_out:
            parts.append(f"{len(self.left_out)} left out: {join(self.left_out, 8)}")
        if self.missing:
            parts.append(f"{len(self.missing)} not in the file: {join(self.missing, 8)}")
        return "; ".join(parts)


def transfer_weights(network: nn.Module, path: str | Path, class_names: Sequence[str]) -> Transfer:
    """Load what fits of other weights into a network.

    A tensor is taken if the network has one of the same name and shape. In the last layer, which has one row per
    class, classes of the same name keep their rows, and other classes keep the network's values.

    Args:
        network: The network, which is changed in place.
        path: A checkpoint, a run folder (its best checkpoint, else its last one), a weights folder, or a file of
            published weights. Of a checkpoint with averaged weights, these are taken.
        class_names: The names of the network's classes.

    Raises:
        UserError: There is no such file, it cannot be read safely, or none of its tensors fits.
    """
    source, state, source_names = read_weights_of(Path(path))
    expected = network.state_dict()
    pairs = matching_classes(source_names, class_names)
    taken: dict[str, Tensor] = {}
    left_out = []
    by_row = False
    for key, value in state.items():
        target = expected.get(key)
        if target is None:
            left_out.append(f"{key} (unknown)")
        elif is_last_layer(network, key, value, target, len(source_names), len(class_names)):
            taken[key] = target.clone()
            taken[key][[new for _, new in pairs]] = value[[old for old, _ in pairs]].to(target)
            by_row = True
        elif value.shape == target.shape:
            taken[key] = value
        else:
            left_out.append(f"{key} ({list(value.shape)}, expected {list(target.shape)})")
    if not taken:
        raise UserError(f"model.weights: no tensor of {source} fits {type(network).__name__}; found {join(state, 4)}")
    network.load_state_dict({**expected, **taken})
    return Transfer(
        source,
        len(taken),
        tuple(class_names[new] for _, new in pairs) if by_row else (),
        tuple(left_out),
        tuple(key for key in expected if key not in state and not key.endswith("num_batches_tracked")),
    )


def read_weights_of(path: Path) -> tuple[Path, Mapping[str, Tensor], list[str]]:
    """Return the file with the weights, its state dict, and the names of its classes."""
    if path.is_dir():
        run = RunFolder(path)
        checkpoints = [file for file in (run.best_checkpoint, run.last_checkpoint) if file.is_file()]
        if checkpoints:
            path = checkpoints[0]
        elif is_weights_folder(path):
            return path, read_weights(path), list(read_preprocessing(path).class_names)
        else:
            raise UserError(f"model.weights: {path} is neither a run folder with a checkpoint nor a weights folder")
    if not path.exists():
        raise UserError(f"model.weights: no file {path}")
    if is_checkpoint(path):
        checkpoint = read_checkpoint(path)
        model = run_config(checkpoint, path).get("model") or {}
        preprocessing = build_preprocessing(model.get("preprocessing") or {}, path)
        return path, network_state(checkpoint), list(preprocessing.class_names)
    published = load_published(path)
    classes, _ = published_classes(published.classes)
    return path, published.network.state_dict(), list(classes.names)


def matching_classes(source: Sequence[str], target: Sequence[str]) -> list[tuple[int, int]]:
    """Return the pairs of indices, in source and target, of the classes that have the same name."""
    indices = {name.lower(): index for index, name in enumerate(source)}
    return [(indices[name.lower()], index) for index, name in enumerate(target) if name.lower() in indices]


def is_last_layer(
    network: nn.Module, key: str, value: Tensor, target: Tensor, source_classes: int, target_classes: int
) -> bool:
    """Return whether a tensor has one row per class: a tensor of smp's segmentation head, or one that only differs so.

    Args:
        network: The network.
        key: The name of the tensor.
        value: The source's tensor.
        target: The network's tensor.
        source_classes: Number of the source's classes.
        target_classes: Number of the network's classes.
    """
    if value.ndim == 0 or target.ndim == 0 or value.shape[1:] != target.shape[1:]:
        return False
    rows = (len(value), len(target)) == (source_classes, target_classes)
    in_head = isinstance(getattr(network, "segmentation_head", None), nn.Module) and key.startswith(
        "segmentation_head."
    )
    return rows and (in_head or source_classes != target_classes)
