"""Interface between a run and its launcher."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from fcos.storage.run_folder import STOP, ProgressRecord


@runtime_checkable
class Runtime(Protocol):
    """What a run needs from its launcher: rank, device, folder, model wrapping, reports, stop and preemption."""

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
        """Return the model on this worker's device, its gradients averaged over the workers."""
        ...

    def report(self, record: ProgressRecord) -> None:
        """Report progress; every worker calls it at the same steps."""
        ...

    def stop_requested(self) -> bool:
        """Return whether the run shall end early; rank 0 calls it, after each report."""
        ...

    def preemption_requested(self) -> bool:
        """Return whether a machine of the run will be taken away.

        Every worker calls it, after the same steps and the same numbers of batches of an evaluation.
        """
        ...

    def heartbeat(self) -> None:
        """Signal progress, on every worker: after a step, and after images were evaluated, decoded or counted."""
        ...


def ignore(*_: object) -> None:
    """Do nothing; the default callback."""


def never() -> bool:
    """Return False; the default of preemption_pending."""
    return False


@dataclass(frozen=True)
class LocalRuntime:
    """A run in one process, without an orchestrator."""

    directory: Path
    device: torch.device
    on_report: Callable[[ProgressRecord], None] = ignore
    on_heartbeat: Callable[[], None] = ignore
    rank: int = 0
    world_size: int = 1
    planned_size: int = 1
    preemption_pending: Callable[[], bool] = never

    def wrap(self, model: nn.Module) -> nn.Module:
        return model.to(self.device)

    def report(self, record: ProgressRecord) -> None:
        self.on_report(record)

    def stop_requested(self) -> bool:
        return (self.directory / STOP).exists()

    def preemption_requested(self) -> bool:
        return self.preemption_pending()

    def heartbeat(self) -> None:
        self.on_heartbeat()
