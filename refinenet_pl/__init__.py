"""RefineNet (Lin et al., CVPR 2017) as a PyTorch Lightning research template.

`import refinenet_pl` loads neither torch nor Lightning, so that `refinenet --help` answers at once. The names in
`__all__` load on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from refinenet_pl.version import __version__ as __version__

if TYPE_CHECKING:
    from refinenet_pl.networks import LightWeightRefineNet, RefineNet
    from refinenet_pl.weights.loading import load

__all__ = ["LightWeightRefineNet", "RefineNet", "load"]

_MODULES = {
    "LightWeightRefineNet": "refinenet_pl.networks",
    "RefineNet": "refinenet_pl.networks",
    "load": "refinenet_pl.weights.loading",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
