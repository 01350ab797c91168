"""A tiny sweep that is interrupted at a known step, and what of it was done again."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.helpers.experiments.sweeps import TINY, client, loss_steps, points, runs, statuses, wait_for

STEPS, INTERVAL, LOG = 60, 20, 4
# A step that is reported after the first checkpoint, and the steps from that checkpoint to it.
BEYOND, AGAIN = 28, 8
ONE = (
    "+experiment=ablation_centerness",
    "experiment.seeds=[0]",
    *TINY,
    f"schedule.steps={STEPS}",
    f"schedule.eval_every={STEPS}",
    f"schedule.checkpoint_every={INTERVAL}",
    f"schedule.log_every={LOG}",
)
# One training with two evaluations.
SINGLE = (*ONE, "~experiment.arms.branch", "~experiment.paper.branch")


def summary_of(trial: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((trial / "summary.json").read_text())["summary"]
    return values


def check_whole(folder: Path, steps: int = STEPS) -> None:
    """All runs FINISHED, one for each trial, every point there and none twice."""
    found, store = runs(folder), client(folder)
    assert set(statuses(folder).values()) == {"FINISHED"}
    for name, one in found.items():
        if name == "ablation_centerness":
            continue
        reported = [(key, step) for key, step, _ in points(one, store)]
        assert len(reported) == len(set(reported))
        assert [step for key, step in reported if key == "train/loss"] == list(range(LOG, steps + 1, LOG))


def redone(trial: Path) -> int:
    """Steps that a training did again after its one break; 0 where there was none."""
    steps = loss_steps(trial)
    turns = [index for index in range(1, len(steps)) if steps[index] <= steps[index - 1]]
    assert len(turns) <= 1, f"restarted more than once: {steps}"
    return steps[turns[0] - 1] - (steps[turns[0]] - LOG) if turns else 0


def seconds_until(happened: Callable[[], object], process: "subprocess.Popen[str]") -> float:
    """Wait for something to happen while a sweep runs, whose end fails it; returns how long that took."""
    began = time.monotonic()
    wait_for(happened, process)
    assert happened(), process.communicate()
    return time.monotonic() - began
