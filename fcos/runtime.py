"""The seam between the training loop and whoever runs it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

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
