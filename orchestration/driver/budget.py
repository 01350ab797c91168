"""Budget of a sweep in hours, over all its commands: counted while it runs, enforced at the limit."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from orchestration.cluster.resources import Demand
from orchestration.config.schema import BudgetConfig
from orchestration.driver.watchdogs import repeating
from orchestration.trial.files import hold_back, release, request_stop, write_json

SPENT = "spent.json"
TICK_SECONDS = 1.0


@dataclass
class Spent:
    """Hours used by a sweep's trainings."""

    wall: float = 0.0
    cpu: float = 0.0
    gpu: float = 0.0

    def add(self, seconds: float, running: int, resources: Demand) -> None:
        """Add some time in which so many trainings ran."""
        hours = seconds / 3600 if running else 0.0
        self.wall += hours
        self.cpu += hours * running * resources.workers * resources.cpus
        self.gpu += hours * running * resources.workers * resources.gpus

    def exceeded(self, limits: BudgetConfig) -> str:
        """Describe the first limit that is reached; empty where none is."""
        for name in ("gpu", "cpu", "wall"):
            limit, used = getattr(limits, f"{name}_hours"), getattr(self, name)
            if limit is not None and used >= limit:
                return f"budget.{name}_hours={limit:g} is used up ({used:.3g} over all commands of this sweep)"
        return ""


def read_spent(folder: Path) -> Spent:
    """Return what earlier commands of a sweep used; nothing where the record cannot be read."""
    try:
        values: Mapping[str, float] = json.loads((folder / SPENT).read_text())
        return Spent(float(values["wall"]), float(values["cpu"]), float(values["gpu"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return Spent()


@contextmanager
def enforce_budget(
    folder: Path, limits: BudgetConfig, resources: Demand, running: Callable[[], list[Path]]
) -> Iterator[None]:
    """Count hours while the block runs; at a limit the `running` trainings are requested to stop, and no other begins.

    A kill loses a tick of the count at most.
    """
    spent = read_spent(folder)

    def count() -> None:
        spent.add(TICK_SECONDS, len(running()), resources)
        with suppress(OSError):
            # A full disk ends trainings by itself; the count goes on in memory.
            write_json(folder / SPENT, vars(spent))
        if spent.exceeded(limits):
            hold_back(folder)
            # Again at every tick: a training that was about to begin clears the request to an earlier attempt.
            for each in running():
                request_stop(each)

    release(folder)
    if spent.exceeded(limits):
        hold_back(folder)
    with repeating("budget", TICK_SECONDS, count):
        yield
