"""Holds trainings at a step until a test lets them go on; see tests/helpers/processes/holding.py.

Python imports this module by its name in every process whose PYTHONPATH has this folder. The product knows nothing of
it: a training waits inside the `open` with which it would append to its `points.jsonl`, between two steps.
"""

import json
import os
import sys
import time
from pathlib import Path

POLL_SECONDS = 0.01
FOLDER = Path(os.environ["FCOS_LAB_TEST_HOLDS"])


def limit_of(trial: Path) -> float:
    """The step at which this process's training is held: its own limit, its training's or that of all."""
    for name in (str(os.getpid()), trial.name, "all"):
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
    if not (isinstance(name, str) and isinstance(mode, str) and "a" in mode and name.endswith("/points.jsonl")):
        return
    points = Path(name)
    step, trial = last_step(points), points.parent
    if step < limit_of(trial):
        return
    note = FOLDER / "held" / trial.name
    note.with_suffix(".new").write_text(str(os.getpid()))
    note.with_suffix(".new").replace(note)
    while step >= limit_of(trial):
        time.sleep(POLL_SECONDS)
    note.unlink(missing_ok=True)


sys.addaudithook(hold)
