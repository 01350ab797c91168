"""Experiments around FCOS over Ray and MLflow.

From Python: `from orchestration import run_sweep`; docs/api.md describes it. `sweep` is the module of the command
`python orchestration/sweep.py`, and has run_sweep too. Every other module is internal or the script of a command.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestration.cli.lock import FolderInUse
    from orchestration.sweep_process import SweepResult, run_sweep

__all__ = ["FolderInUse", "SweepResult", "run_sweep"]

# Where each of them is defined. None has the name of a module of this package, whose import would replace it.
_MODULES = {
    "FolderInUse": "orchestration.cli.lock",
    "SweepResult": "orchestration.sweep_process",
    "run_sweep": "orchestration.sweep_process",
}


def __getattr__(name: str) -> Any:
    """Import a public name where it is used first."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, also before they are loaded."""
    return sorted({*globals(), *__all__})
