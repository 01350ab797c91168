"""Tasks as trials of a sweep get them."""

from pathlib import Path
from typing import Any

from orchestration.cluster.resources import Demand
from orchestration.experiment.provenance import Provenance
from orchestration.trial.task import MicroBatching, Task

BATCHING = MicroBatching(batch_size=8, accumulate=1, trains=True, divisible=True, decides=False)


def task_in(folder: Path, **changes: Any) -> Task:
    """Return a task of one worker whose training keeps its files in a folder."""
    values: dict[str, Any] = {
        "index": 0,
        "identity": "x",
        "folder": str(folder),
        "ray_folder": str(folder),
        "config": {},
        "arms": {},
        "provenance": Provenance("", {}),
        "data_digest": "",
        "demand": Demand(workers=1, cpus=1, gpus=0, device="cpu"),
        "micro_batching": BATCHING,
        "on_workers": False,
        "command_id": "one",
        "max_failures": 1,
        "stall_seconds": None,
    }
    return Task(**{**values, **changes})
