"""Sweeps of different names that run at the same time and have trainings in common: each is trained by one of them."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.helpers.experiments.sweeps import (
    client,
    finished,
    loss_steps,
    pair_words,
    points,
    runs,
    start,
    statuses,
    trials_of,
    wait_for,
)
from tests.helpers.processes.holding import Hold
from tests.helpers.processes.waiting import PATIENCE

STEPS, INTERVAL, LOG = 60, 6, 2
# Arms none and branch.
SWEEP = (*pair_words(STEPS, INTERVAL, LOG), "report=false")
# Arms none and wide.
OTHER = (
    *SWEEP,
    "~experiment.arms.branch",
    "~experiment.paper.branch",
    "+experiment.arms.wide={model.fpn.channels: 32}",
    "cluster.concurrent=1",
    "name=second",
)


def end(process: "subprocess.Popen[str]") -> str:
    """Wait for a sweep that ends well, and return what it printed."""
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output + errors
    return output


def folder_of(folder: Path, sweep: str, arm: str) -> Path:
    """The folder of an arm's training in a sweep."""
    plan = json.loads((folder / "outputs" / sweep / "plan.json").read_text())
    (identity,) = (each["identity"] for each in plan["trials"] if arm in each["arms"])
    return folder / "outputs" / sweep / "trials" / str(identity)[:16]


def claims_of(folder: Path, trial: Path) -> list[str]:
    """The generations of a training's lease that were claimed."""
    return sorted(path.name for path in (folder / "outputs" / ".leases").glob(f"{trial.name}*/*.claim"))


@pytest.mark.slow(minutes=2)
@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_a_shared_training_goes_on_in_the_other_sweep(tmp_path: Path, hold: Hold, way: signal.Signals) -> None:
    moment = 4 * INTERVAL + LOG
    hold.at(moment)
    first = start(tmp_path, *SWEEP, "cluster.concurrent=1", "name=first")
    wait_for(hold.held, first)
    ((name, pid),) = hold.held().items()
    # It alone waits from here on.
    hold.at(moment, pid)
    hold.release()
    second = start(tmp_path, *OTHER)
    wait_for((tmp_path / "outputs" / "second" / "plan.json").exists, second)
    wait_for((folder_of(tmp_path, "second", "wide") / "summary.json").exists, second)
    shared, theirs = folder_of(tmp_path, "second", "none"), folder_of(tmp_path, "first", "none")
    assert shared.name == theirs.name == name
    assert not (shared / "log.txt").exists() and second.poll() is None, "it waits for the other sweep"
    os.kill(first.pid, way)
    first.communicate()
    wait_for(lambda: len(claims_of(tmp_path, shared)) == 2, second)
    # Whatever of the first sweep is left may go on: it finds that its lease has ended.
    hold.release(pid)
    output = end(second)
    assert "none · seed 0:  trained by sweep first on" in output
    assert statuses(tmp_path, "second") == dict.fromkeys(("second", "none seed 0", "wide seed 0"), "FINISHED")
    # Nothing before the newest checkpoint is done again, and the first sweep has no result.
    assert loss_steps(shared) == list(range(LOG, STEPS + 1, LOG))
    assert json.loads((shared / "origin.json").read_text())["step"] in (4 * INTERVAL, moment)
    assert max(loss_steps(theirs)) <= moment + LOG and not (theirs / "summary.json").exists()
    # The same command takes the result over, and trains what is its own.
    output = finished(tmp_path, *SWEEP, "name=first")
    assert statuses(tmp_path, "first") == dict.fromkeys(("first", "none seed 0", "branch seed 0"), "FINISHED")
    store, one, other = client(tmp_path), runs(tmp_path, "first"), runs(tmp_path, "second")
    assert one["none seed 0"].data.tags["fcos.reused_from"] == other["none seed 0"].info.run_id
    assert points(one["none seed 0"], store) == points(other["none seed 0"], store)
    assert claims_of(tmp_path, shared) == ["1.claim", "2.claim"]


@pytest.mark.slow(minutes=3)
def test_two_sweeps_that_start_together_train_each_training_once(tmp_path: Path) -> None:
    words = (*SWEEP, "experiment.seeds=[0,1]", "cluster.concurrent=1")
    pair = [start(tmp_path, *words, f"name={name}") for name in ("first", "second")]
    outputs = [end(process) for process in pair]
    names = ("none seed 0", "branch seed 0", "none seed 1", "branch seed 1")
    trained: dict[str, list[str]] = {}
    for sweep in ("first", "second"):
        assert statuses(tmp_path, sweep) == dict.fromkeys((sweep, *names), "FINISHED")
        for trial in trials_of(tmp_path, sweep):
            assert (trial / "summary.json").exists()
            if not (trial / "reused.json").exists():
                trained.setdefault(trial.name, []).append(sweep)
    assert len(trained) == len(names) and all(len(sweeps) == 1 for sweeps in trained.values()), trained
    found = [one for sweep in ("first", "second") for one in runs(tmp_path, sweep).values()]
    originals = [one for one in found if "fcos.arm" in one.data.tags and "fcos.reused_from" not in one.data.tags]
    assert len(originals) == len(names), "one run that counts for each training, beside its copy"
    assert any("reused from" in output for output in outputs)
    # All leases were given back, and no command is taken for alive.
    leases = tmp_path / "outputs" / ".leases"
    assert len(list(leases.glob("*/*.claim"))) == len(list(leases.glob("*/*.end"))) == len(names)
    assert not list((leases / "holders").iterdir())
