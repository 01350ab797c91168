"""First steps in common, as whole sweeps: fewer steps, the same numbers, also after a kill and on two workers."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.helpers.experiments.sweeps import (
    TINY,
    TRAIN,
    client,
    finished,
    loss_steps,
    points,
    runs,
    start,
    trials_of,
    wait_for,
)
from tests.helpers.processes.holding import Hold
from tests.helpers.processes.waiting import PATIENCE

NAME = "ablation_decay"
# Cosine has warm-up and one step more in common with the others.
DECAY = (
    f"+experiment={NAME}",
    "experiment.seeds=[0,1]",
    *TINY,
    "schedule.steps=12",
    "schedule.warmup_steps=2",
    "experiment.arms.step.schedule.milestones=[8,10]",
    "experiment.arms.step_to_half.schedule.milestones=[8,10]",
    "report=false",
)
APART = (*DECAY, "share_prefixes=false", "reuse=false", "retrain_reason=compared", "name=apart")


def trained_steps(folder: Path, name: str) -> int:
    """Steps that the trainings of a sweep did themselves, each from where it began."""
    counts = []
    for trial in trials_of(folder, name):
        origin = trial / "origin.json"
        begun = json.loads(origin.read_text())["step"] if origin.exists() else 0
        counts.append(json.loads((trial / "summary.json").read_text())["summary"]["step"] - begun)
    return sum(counts)


def numbers(folder: Path, name: str) -> dict[str, list[tuple[str, int, float]]]:
    """Points of the runs of a sweep by arm and seed."""
    store = client(folder)
    every = [one for one in runs(folder, name, store).values() if one.data.tags["fcos.kind"] != "sweep"]
    return {f"{one.data.tags['fcos.arm']} {one.data.tags['fcos.seed']}": points(one, store) for one in every}


@pytest.mark.slow(minutes=2)
def test_a_sweep_that_was_killed_at_a_fork_has_the_numbers_of_trainings_from_the_start(tmp_path: Path) -> None:
    process = start(tmp_path, *DECAY)
    wait_for(lambda: list(tmp_path.glob(f"outputs/{NAME}/trials/*/origin.json")), process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    finished(tmp_path, *DECAY)
    finished(tmp_path, *APART)
    assert numbers(tmp_path, NAME) == numbers(tmp_path, "apart")
    # 12 of cosine, 9 of step after 3, 4 of each of the others after 8.
    assert trained_steps(tmp_path, NAME) == 2 * (12 + 9 + 4 + 4)
    assert trained_steps(tmp_path, NAME) <= 0.61 * trained_steps(tmp_path, "apart") == 0.61 * 96
    begun = {name: one.data.tags.get("fcos.begun_at_step") for name, one in runs(tmp_path, NAME).items()}
    assert {name: step for name, step in begun.items() if name.endswith("seed 1")} == {
        "cosine seed 1": None,
        "step seed 1": "3",
        "step_to_half seed 1": "8",
        "none seed 1": "8",
    }
    # What was kept for others is gone, but for the first milestone.
    kept = {path.name for path in tmp_path.glob(f"outputs/{NAME}/trials/*/forks/*")}
    assert kept == {"step_00000008"}
    assert all(loss_steps(trial) == [2, 4, 6, 8, 10, 12] for trial in trials_of(tmp_path, "apart"))


@pytest.mark.slow(minutes=2)
def test_a_longer_training_goes_on_from_the_end_of_a_shorter_one(tmp_path: Path) -> None:
    words = (*TINY, "schedule.decay=none")
    finished(tmp_path, *words, "name=short", entry=TRAIN)
    shown = finished(tmp_path, *words, "schedule.steps=16", "name=longer", entry=TRAIN)
    assert "from step 12 of run" in shown and "of short" in shown
    finished(tmp_path, *words, "schedule.steps=16", "reuse=false", "retrain_reason=compared", "name=alone", entry=TRAIN)
    assert numbers(tmp_path, "longer") == numbers(tmp_path, "alone")
    (longer,) = trials_of(tmp_path, "longer")
    assert json.loads((longer / "summary.json").read_text())["summary"]["resumed_from"] == 12


# Seven trainings of two workers after each other, each of which starts Ray Train's processes.
@pytest.mark.timeout(1800)
@pytest.mark.slow(minutes=4)
def test_trainings_on_two_workers_whose_budget_ends_amid_forks_have_the_numbers_of_trainings_from_the_start(
    tmp_path: Path, hold: Hold
) -> None:
    more = ("~experiment.arms.none", "experiment.seeds=[0]", "cluster.workers=2", "cluster.concurrent=1")
    words = (*DECAY, *more)
    # The trunk of the others has left its fork, and none of them has begun.
    hold.at(6)
    process = start(tmp_path, *words, "budget.wall_hours=0.01")
    wait_for(lambda: hold.held() and any((trial / "stop").exists() for trial in trials_of(tmp_path, NAME)), process)
    hold.release()
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 4, output + errors
    (cut,) = (trial for trial in trials_of(tmp_path, NAME) if loss_steps(trial))
    assert not (cut / "summary.json").exists()
    finished(tmp_path, *words, "budget.wall_hours=1")
    finished(tmp_path, *APART, *more)
    ours, whole = numbers(tmp_path, NAME), numbers(tmp_path, "apart")
    assert ours.keys() == whole.keys() and all(set(whole[name]) <= set(of) for name, of in ours.items())
    # The one that was cut was evaluated there as well.
    assert len({step for name, of in ours.items() for _, step, _ in set(of) - set(whole[name])}) <= 1
    # No step was done again.
    assert loss_steps(cut) == [2, 4, 6, 8, 10, 12]
    assert trained_steps(tmp_path, NAME) == 12 + 9 + 4
    assert {each.data.tags["fcos.resources"] for each in runs(tmp_path, NAME).values()} == {"2 x 1 CPU 0 GPU cpu"}
