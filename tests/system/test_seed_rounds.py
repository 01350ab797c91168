"""Seeds until it is decided, as whole sweeps: rounds, looks in plan and store, a killed driver, results of others."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.helpers.experiments.sweeps import (
    SHARED,
    client,
    finished,
    loss_steps,
    runs,
    start,
    started,
    statuses,
    trials_of,
    wait_for,
)
from tests.helpers.processes.holding import Hold
from tests.helpers.processes.waiting import PATIENCE

# One training a seed, of the two arms none and from_regression.
ROUNDS = (*SHARED, "experiment.seeds=[0,1]", "experiment.until=decided", "experiment.most_seeds=3", "report=false")
NAMES = [f"{arm} seed {seed}" for seed in (0, 1, 2) for arm in ("none", "from_regression")]


def looks_of(folder: Path) -> tuple[list[int], str]:
    """Return the looks of the sweep's plan, and those that its run in the store has."""
    plan = json.loads((folder / "outputs" / "ablation_centerness" / "plan.json").read_text())
    return plan["looks"], runs(folder)["ablation_centerness"].data.tags["fcos.looks"]


@pytest.mark.slow
def test_a_driver_killed_in_a_later_round_comes_to_the_same_looks(tmp_path: Path) -> None:
    process = start(tmp_path, *ROUNDS)
    wait_for(lambda: len(started(tmp_path)) == 3, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    finished(tmp_path, *ROUNDS)
    assert len(trials_of(tmp_path)) == 3
    assert statuses(tmp_path) == dict.fromkeys(["ablation_centerness", *NAMES], "FINISHED")
    assert looks_of(tmp_path) == ([2, 3], "[2, 3]")


@pytest.mark.slow
def test_rounds_take_over_what_other_sweeps_have_and_seeds_by_hand_are_a_look(tmp_path: Path) -> None:
    by_hand = (*SHARED, "report=false", "name=by_hand")
    finished(tmp_path, *by_hand, "experiment.seeds=[0,1]")
    finished(tmp_path, *by_hand, "experiment.seeds=[0,1,2]")
    assert runs(tmp_path, "by_hand")["by_hand"].data.tags["fcos.looks"] == "[2, 3]"
    finished(tmp_path, *ROUNDS)
    assert not started(tmp_path), "every result is taken over"
    assert looks_of(tmp_path) == ([2, 3], "[2, 3]")
    store = client(tmp_path)
    assert {one.data.tags["fcos.trained_in"] for name, one in runs(tmp_path, store=store).items() if name in NAMES} == {
        "by_hand"
    }


@pytest.mark.slow
def test_a_budget_that_ends_a_round_and_a_raised_one_come_to_the_decisions_of_a_sweep_without_any(
    tmp_path: Path, hold: Hold
) -> None:
    two = (*ROUNDS[:-2], "experiment.most_seeds=2", "report=false")
    finished(tmp_path, *two)
    used = json.loads((tmp_path / "outputs" / "ablation_centerness" / "spent.json").read_text())["wall"]
    hold.at(6)
    reported = ROUNDS[:-1]
    # Enough to begin the third training, which is then held until it is used up.
    process = start(tmp_path, *reported, f"budget.wall_hours={used + 0.003}")
    wait_for(lambda: hold.held() and any((trial / "stop").exists() for trial in trials_of(tmp_path)), process)
    hold.release()
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 4, output + errors
    assert "is used up" in output and "1 training left: raise the budget, the same command goes on" in output
    assert looks_of(tmp_path) == ([2], "[2]"), "a training that was stopped is no pair"
    stopped = statuses(tmp_path)
    assert {name for name, status in stopped.items() if status == "KILLED"} == {"ablation_centerness", *NAMES[4:]}
    finished(tmp_path, *reported, "budget.wall_hours=1")
    assert statuses(tmp_path) == dict.fromkeys(["ablation_centerness", *NAMES], "FINISHED")
    assert looks_of(tmp_path) == ([2, 3], "[2, 3]")
    assert all(loss_steps(trial) == list(range(2, 13, 2)) for trial in trials_of(tmp_path)), "a step was done again"
    finished(tmp_path, *ROUNDS, "name=undisturbed", "reuse=false", "retrain_reason=compared")
    undisturbed = runs(tmp_path, "undisturbed")
    for name, run in runs(tmp_path).items():
        for metric in ("val/AP", "train/loss") if name in NAMES else ():
            assert run.data.metrics[metric] == undisturbed[name].data.metrics[metric]
