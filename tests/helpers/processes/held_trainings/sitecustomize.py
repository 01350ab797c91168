"""Holds trainings at a step until a test lets them go on; see tests/helpers/processes/holding.py.

Python imports this module by its name in every process whose PYTHONPATH has this folder. The product knows nothing of
it: a training waits inside the `open` with which it would append to its `points.jsonl`, between two steps, or inside
the one with which it would read an image of an evaluation (see `Hold.in_evaluation`).
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

POLL_SECONDS = 0.01
FOLDER = Path(os.environ["FCOS_LAB_TEST_HOLDS"])


def limit_of(trial: Path) -> float:
    """The step at which this process's training is held: its own limit, its training's or that of all."""
    return limit_in(str(os.getpid()), trial.name, "all")


def limit_in(*names: str) -> float:
    """The limit in the first of these files that is there."""
    for name in names:
        try:
            return float((FOLDER / name).read_text())
        except FileNotFoundError:
            continue
    return float("inf")


def last_step(points: Path) -> int:
    """The furthest step written; a line may have been cut short by a kill."""
    steps = [0]
    for line in points.read_text().splitlines() if points.exists() else []:
        try:
            steps.append(json.loads(line)[2])
        except ValueError:
            continue
    return max(steps)


def hold(event: str, arguments: tuple[object, ...]) -> None:
    """Wait as long as the training is at its limit; a file of the training's name holds the pid meanwhile."""
    if event != "open":
        return
    name, mode, _ = arguments
    if not (isinstance(name, str) and isinstance(mode, str)):
        return
    if "a" in mode and name.endswith("/points.jsonl"):
        reported[:] = [Path(name)]
        wait(Path(name), limit_of)
    elif reported and name.endswith(".png") and "/val/" in name:
        wait(reported[0], lambda _: limit_in("evaluation"))


def wait(points: Path, limit: Callable[[Path], float]) -> None:
    step, trial = last_step(points), points.parent
    if step < limit(trial):
        return
    note = FOLDER / "held" / trial.name
    note.with_suffix(".new").write_text(str(os.getpid()))
    note.with_suffix(".new").replace(note)
    while step >= limit(trial):
        time.sleep(POLL_SECONDS)
    note.unlink(missing_ok=True)


# The file of points that this process appended to last.
reported: list[Path] = []
sys.addaudithook(hold)
