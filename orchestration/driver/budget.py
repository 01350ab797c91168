"""Hours that a sweep may use, over all its commands: counted as it runs, and what ends it when they are used up."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from orchestration.cli.progress import Board
from orchestration.cluster.resources import Demand
from orchestration.config.schema import BudgetConfig
from orchestration.driver.watchdogs import ticking
from orchestration.trial.files import ask_to_stop, hold_back, let_go, write_json

SPENT = "spent.json"
TICK_SECONDS = 1.0


@dataclass
class Spent:
    """Hours used by a sweep's trainings."""

    wall: float = 0.0
    cpu: float = 0.0
    gpu: float = 0.0

    def add(self, seconds: float, running: int, need: Demand) -> None:
        """Count some time in which so many trainings ran."""
        hours = seconds / 3600 if running else 0.0
        self.wall += hours
        self.cpu += hours * running * need.workers * need.cpus
        self.gpu += hours * running * need.workers * need.gpus

    def over(self, limits: BudgetConfig) -> str:
        """The first limit that is reached, in words; empty where none is."""
        for name in ("gpu", "cpu", "wall"):
            limit, used = getattr(limits, f"{name}_hours"), getattr(self, name)
            if limit is not None and used >= limit:
                return f"budget.{name}_hours={limit:g} is used up ({used:.3g} over all commands of this sweep)"
        return ""


def read_spent(folder: Path) -> Spent:
    """What earlier commands of a sweep used; nothing where the record cannot be read."""
    try:
        values: Mapping[str, float] = json.loads((folder / SPENT).read_text())
        return Spent(float(values["wall"]), float(values["cpu"]), float(values["gpu"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return Spent()


@contextmanager
def counted(
    folder: Path, limits: BudgetConfig, need: Demand, board: Board, running: Callable[[], list[Path]]
) -> Iterator[None]:
    """Count while the block runs; at a limit the `running` trainings' folders are asked to stop, and no other begins.

    A kill loses a tick of the count at most.
    """
    spent = read_spent(folder)

    def count() -> None:
        spent.add(TICK_SECONDS, board.count("running"), need)
        with suppress(OSError):
            # A full disk ends trainings by itself; the count goes on in memory.
            write_json(folder / SPENT, vars(spent))
        if spent.over(limits):
            hold_back(folder)
            # Again at every tick: a training that was about to begin clears what an earlier attempt was asked.
            for each in running():
                ask_to_stop(each)

    let_go(folder)
    if spent.over(limits):
        hold_back(folder)
    with ticking("budget", TICK_SECONDS, count):
        yield
