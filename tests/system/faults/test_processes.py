"""Killed drivers and trainings: the same command finishes, nothing is lost, nothing is done twice."""

import json
import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from tests.helpers.experiments.sweeps import (
    client,
    loss_steps,
    pair_words,
    points,
    runs,
    start,
    started,
    statuses,
    sweep,
    training_processes,
    trials_of,
    wait_for,
)
from tests.helpers.processes.holding import Hold
from tests.helpers.processes.waiting import PATIENCE

STEPS, INTERVAL, LOG = 60, 6, 2
# Two trainings.
SWEEP = (*pair_words(STEPS, INTERVAL, LOG), "report=false")
NAMES = ("ablation_centerness", "none seed 0", "branch seed 0")


def progress(folder: Path) -> int:
    return sum(max(loss_steps(trial), default=0) for trial in trials_of(folder))


def start_twice(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    """The same command twice at once; the one that goes on. The other ends with 3 and names it."""
    pair = [start(folder, *SWEEP, *arguments) for _ in range(2)]
    wait_for(lambda: any(process.poll() is not None for process in pair), pair[0])
    ended = next(process for process in pair if process.poll() is not None)
    goes_on = next(process for process in pair if process is not ended)
    _, errors = ended.communicate(timeout=PATIENCE)
    assert ended.returncode == 3, errors
    assert f"in use by process {goes_on.pid} on" in errors
    assert goes_on.poll() is None
    return goes_on


def check_whole(folder: Path) -> None:
    """As many runs as trainings, all FINISHED, every point there and none twice."""
    assert statuses(folder) == dict.fromkeys(NAMES, "FINISHED")
    store = client(folder)
    for name in NAMES[1:]:
        found = [(key, step) for key, step, _ in points(runs(folder)[name], store)]
        assert len(found) == len(set(found))
        assert [step for key, step in found if key == "train/loss"] == list(range(LOG, STEPS + 1, LOG))


def kill_again_and_again(folder: Path, seed: int, *arguments: str) -> None:
    moments = sorted(random.Random(seed).sample(range(2 * STEPS - 4), 5))
    for moment in moments:
        process = start_twice(folder, *arguments) if moment == moments[0] else start(folder, *SWEEP, *arguments)

        def reached(moment: int = moment) -> bool:
            return progress(folder) >= moment and bool(trials_of(folder))

        wait_for(reached, process)
        assert process.poll() is None, process.communicate()
        # The driver alone: what it started has to notice by itself.
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        before = {trial: (loss_steps(trial), _written(trial)) for trial in trials_of(folder)}
    done = sweep(folder, *SWEEP, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    check_whole(folder)
    for trial, (steps, written) in before.items():
        after = loss_steps(trial)[len(steps) :]
        if written is not None:
            assert (after, _written(trial)) == ([], written), "a finished training was done again"
        elif steps and after:
            assert max(steps) - (after[0] - LOG) <= INTERVAL, f"{trial.name}: {moments}"


def _written(trial: Path) -> int | None:
    summary = trial / "summary.json"
    return summary.stat().st_mtime_ns if summary.exists() else None


@pytest.mark.slow(minutes=4)
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_driver_killed_at_five_moments_after_a_double_start(tmp_path: Path, seed: int) -> None:
    kill_again_and_again(tmp_path, seed, f"cluster.concurrent={1 + seed % 2}")


@pytest.mark.slow(minutes=2)
def test_of_double_starts_one_goes_on_each_time(tmp_path: Path) -> None:
    # The race itself is run a hundred times in tests/unit/orchestration/cli/test_lock.py.
    for number in range(3):
        process = start_twice(tmp_path, f"name=number{number}")
        process.terminate()
        process.communicate(timeout=PATIENCE)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["auto", "always"])
def test_a_killed_training_goes_on_from_its_checkpoint(tmp_path: Path, hold: Hold, way: str) -> None:
    moment = 4 * INTERVAL + LOG
    hold.at(moment)
    process = start(tmp_path, *SWEEP, f"cluster.ray_train={way}", "cluster.concurrent=1")
    wait_for(hold.held, process)
    (trial,) = started(tmp_path)
    (victim,) = training_processes(trial)
    os.kill(victim, signal.SIGKILL)
    hold.release()
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output + errors
    check_whole(tmp_path)
    # What was reported after the newest checkpoint is done again, and nothing before it.
    assert loss_steps(trial) == [*range(LOG, moment + 1, LOG), *range(moment, STEPS + 1, LOG)]
    summary = json.loads((trial / "summary.json").read_text())["summary"]
    assert summary["resumed_from"] == 4 * INTERVAL
