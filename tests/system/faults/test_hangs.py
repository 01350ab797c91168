"""Trainings that stop getting on, with a process that is there and does nothing: found, ended, taken up again."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.trial.processes import start_time
from tests.helpers.experiments.sweeps import (
    SHARED,
    client,
    loss_steps,
    points,
    runs,
    start,
    statuses,
    trials_of,
    wait_for,
)
from tests.helpers.processes.holding import Hold
from tests.helpers.processes.waiting import PATIENCE

# Seconds, of which starting up and the first step must take less.
STALL = 20
STEPS, INTERVAL, LOG = 60, 6, 2
WORDS = (
    *SHARED,
    f"schedule.steps={STEPS}",
    f"schedule.eval_every={STEPS}",
    f"schedule.checkpoint_every={INTERVAL}",
    f"schedule.log_every={LOG}",
    f"cluster.stall_minutes={STALL / 60}",
)
NAMES = ("ablation_centerness", "none seed 0", "from_regression seed 0")


def last_sign(trial: Path) -> float:
    """When a process of a training last wrote that it gets on, in seconds since 1970."""
    return max(path.stat().st_mtime for path in (trial / "alive").glob("rank_*.json"))


def rank(trial: Path, number: int) -> int:
    pid: int = json.loads((trial / "alive" / f"rank_{number}.json").read_text())["pid"]
    return pid


def loader_of(trial: Path) -> int:
    """The process that loads data for a training; it says so in its command line, or is the one child."""
    parent = rank(trial, 0)
    children = [
        int(stat.parent.name)
        for stat in Path("/proc").glob("[0-9]*/stat")
        if stat.exists() and int(stat.read_text().rpartition(")")[2].split()[1]) == parent
    ]
    return max(children)


CASES: dict[str, tuple[Callable[[Path], int], tuple[str, ...]]] = {
    "a training in the trial's own process": (lambda trial: rank(trial, 0), ()),
    "one of two workers": (lambda trial: rank(trial, 1), ("cluster.workers=2",)),
    "a process that loads data": (loader_of, ("data.num_workers=1",)),
}


@pytest.mark.slow(minutes=1)
@pytest.mark.parametrize("case", CASES)
def test_what_hangs_is_ended_and_goes_on_from_its_checkpoint(tmp_path: Path, hold: Hold, case: str) -> None:
    victim_of, arguments = CASES[case]
    hold.at(4 * INTERVAL)
    process = start(tmp_path, *WORDS, *arguments)
    wait_for(hold.held, process)
    (trial,) = trials_of(tmp_path)
    victim, before = victim_of(trial), loss_steps(trial)
    os.kill(victim, signal.SIGSTOP)
    sign = last_sign(trial)
    # It may get on for a moment with what was loaded before.
    hold.release()
    wait_for(lambda: not start_time(victim), process)
    assert process.poll() is None, process.communicate()
    print(f"{time.time() - sign:.0f} s after the last heartbeat")
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output + errors
    reason = f"no progress for {STALL} s (cluster.stall_minutes={STALL / 60:g}); its processes were ended"
    assert " ".join(f"none, from_regression · seed 0: Stalled: {reason}".split()) in " ".join(output.split())
    assert statuses(tmp_path) == dict.fromkeys(NAMES, "FINISHED")
    reported = [(key, step) for key, step, _ in points(runs(tmp_path)["none seed 0"], client(tmp_path))]
    assert len(reported) == len(set(reported))
    assert [step for key, step in reported if key == "train/loss"] == list(range(LOG, STEPS + 1, LOG))
    again = loss_steps(trial)
    # Where it stopped at a checkpoint, nothing is done again.
    turns = [index for index in range(1, len(again)) if again[index] <= again[index - 1]]
    assert len(turns) <= 1 and again[: len(before)] == before
    for turn in turns:
        assert again[turn - 1] - (again[turn] - LOG) <= INTERVAL
    assert reason in runs(tmp_path)["none seed 0"].data.tags["fcos.notes"]
    report = (tmp_path / "outputs" / "ablation_centerness" / "report" / "report.md").read_text()
    assert reason in report
