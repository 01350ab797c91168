"""Train, evaluate and run FCOS detectors from Python.

The names in `__all__` are meant to be used; docs/api.md describes them. Every module below this package is internal and
may change. Importing the package loads none of them, nor torch: that happens where a name is used first.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fcos.api.configure import configure
    from fcos.api.convert import Converted, convert
    from fcos.api.draw import AssignmentPicture, draw, draw_assignment
    from fcos.api.evaluate import evaluate
    from fcos.api.export import export
    from fcos.api.inspect import DataReport, inspect
    from fcos.api.load import Detector, load
    from fcos.api.predict import Prediction, predict
    from fcos.api.train import Training, train
    from fcos.assignment.own_rule import Match
    from fcos.config.run import Config
    from fcos.errors import ConfigError

__all__ = [
    "AssignmentPicture",
    "Config",
    "ConfigError",
    "Converted",
    "DataReport",
    "Detector",
    "Match",
    "Prediction",
    "Training",
    "configure",
    "convert",
    "draw",
    "draw_assignment",
    "evaluate",
    "export",
    "inspect",
    "load",
    "predict",
    "train",
]

# Where each of them is defined. None has the name of a module of this package, whose import would replace it.
_MODULES = {
    "AssignmentPicture": "fcos.api.draw",
    "Config": "fcos.config.run",
    "ConfigError": "fcos.errors",
    "Converted": "fcos.api.convert",
    "DataReport": "fcos.api.inspect",
    "Detector": "fcos.api.load",
    "Match": "fcos.assignment.own_rule",
    "Prediction": "fcos.api.predict",
    "Training": "fcos.api.train",
    "configure": "fcos.api.configure",
    "convert": "fcos.api.convert",
    "draw": "fcos.api.draw",
    "draw_assignment": "fcos.api.draw",
    "evaluate": "fcos.api.evaluate",
    "export": "fcos.api.export",
    "inspect": "fcos.api.inspect",
    "load": "fcos.api.load",
    "predict": "fcos.api.predict",
    "train": "fcos.api.train",
}


def __getattr__(name: str) -> Any:
    """Import the module of a public name where it is used first."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, also before they are loaded."""
    return sorted({*globals(), *__all__})
