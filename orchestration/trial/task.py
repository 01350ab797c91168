"""All that a training has to know, as plain values that travel to its processes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestration.cluster.resources import Demand
from orchestration.experiment.provenance import Evidence

# The one key of Tune's own config of a trial.
TASK = "task"


@dataclass(frozen=True)
class Task:
    """One training of a plan."""

    # Place among the plan's trainings.
    place: int
    identity: str
    # The training's own folder, the same on every machine.
    folder: str
    # Where Ray keeps its own records.
    ray_folder: str
    config: Mapping[str, Any]
    arms: Mapping[str, Mapping[str, Any]]
    # The code, versions and data that the identity stands for; held against those where it trains.
    evidence: Evidence
    data_digest: str
    demand: Demand
    # Whether a TorchTrainer runs the loop.
    on_workers: bool
    # Which command this is: failures are counted by it.
    command: str
    max_failures: int
    # Without a sign of life for so long it is ended; None lets it be.
    stall_seconds: float | None
    # schedule.best_metric of a search, which looks for another; None leaves the configured one.
    best_metric: str | None = None
