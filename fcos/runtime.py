"""The seam between the training loop and whoever runs it."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from fcos.section import ConfigError

# What the loop tells of itself: {"step": ..., "total_steps": ..., "points": ..., ...}; see fcos.train.run.
Record = dict[str, Any]
# A file of this name in a run's folder asks the run to end early.
STOP = "stop"


@runtime_checkable
class Runtime(Protocol):
    """Ten members: who I am, where I compute and keep things, how I wrap a model, whom I tell, whom I heed."""

    @property
    def rank(self) -> int: ...

    @property
    def world_size(self) -> int: ...

    @property
    def planned_size(self) -> int:
        """Workers that the run was planned for; where fewer are there, each takes more of the batch."""
        ...

    @property
    def device(self) -> torch.device: ...

    @property
    def directory(self) -> Path:
        """The run's own folder, the same for all workers and for every attempt at the run."""
        ...

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model on this worker's device, its gradients averaged over the workers."""
        ...

    def report(self, record: Record) -> None:
        """Tell how far the run is; every worker calls it at the same steps."""
        ...

    def stop_asked(self) -> bool:
        """Whether the run is to end early; rank 0 asks, after each report."""
        ...

    def leave_asked(self) -> bool:
        """Whether a machine of the run will be taken away; every worker asks, at the same steps."""
        ...

    def beat(self) -> None:
        """Told wherever the run gets on, on every worker: a step, images evaluated, decoded or counted."""
        ...


def pick_device(name: str) -> torch.device:
    """The device of a name: cpu, cuda or auto (cuda where there is one).

    Raises ConfigError where cuda is asked for and none is present.
    """
    present = torch.cuda.is_available()
    if name == "cuda" and not present:
        raise ConfigError("device=cuda: no CUDA device is present here; use device=cpu, or a machine with a GPU")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and present) else "cpu")


def ignore(*_: object) -> None:
    """A listener for runs that nobody watches."""


def never() -> bool:
    """The notice on a machine that stays."""
    return False


@dataclass(frozen=True)
class LocalRuntime:
    """One process without an orchestrator."""

    directory: Path
    device: torch.device
    listener: Callable[[Record], None] = ignore
    heart: Callable[[], None] = ignore
    rank: int = 0
    world_size: int = 1
    planned_size: int = 1
    notice: Callable[[], bool] = never

    def wrap(self, model: nn.Module) -> nn.Module:
        return model.to(self.device)

    def report(self, record: Record) -> None:
        self.listener(record)

    def stop_asked(self) -> bool:
        return (self.directory / STOP).exists()

    def leave_asked(self) -> bool:
        return self.notice()

    def beat(self) -> None:
        self.heart()


def user_cache() -> Path:
    """The user's cache folder for this project; raises ConfigError where the user has no home to keep it in."""
    given = os.environ.get("XDG_CACHE_HOME")
    return (Path(given) if given else expanded("~/.cache", "data.cache_dir=null")) / "fcos-lab"


def expanded(text: str, key: str) -> Path:
    """Expand `~` in a path; raises ConfigError naming the setting where the user has no home."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ConfigError(
            f"{key}: this user (uid {os.getuid()}) has no home folder; give data.cache_dir=<folder that may be "
            "written> and paths without ~, or set HOME or XDG_CACHE_HOME"
        ) from None
