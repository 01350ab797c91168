"""Ends that are no failure: a budget used up and a full disk leave checkpoints from which the same command goes on."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fcos.storage import checkpoint_folder
from tests.helpers.experiments.sweeps import (
    SHARED,
    finished,
    loss_steps,
    runs,
    start,
    statuses,
    sweep,
    trials_of,
    wait_for,
)
from tests.helpers.processes.holding import Hold
from tests.helpers.processes.waiting import PATIENCE

LONGER = (
    "schedule.steps=100",
    "schedule.eval_every=100",
    "schedule.checkpoint_every=10",
    "schedule.keep_checkpoints=3",
)


@pytest.mark.slow
def test_a_used_up_budget_stops_at_a_checkpoint_and_a_raised_one_goes_on(tmp_path: Path, hold: Hold) -> None:
    schedule = ("schedule.steps=100", "schedule.eval_every=100", "schedule.checkpoint_every=100")
    words = (*SHARED, *schedule, "experiment.seeds=[0,1]", "cluster.concurrent=1")
    # The first training is not over before the budget is.
    hold.at(40)
    process = start(tmp_path, *words, "budget.wall_hours=0.003")
    wait_for(lambda: hold.held() and any((trial / "stop").exists() for trial in trials_of(tmp_path)), process)
    hold.release()
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 4, output + errors
    assert "stopped: budget.wall_hours=0.003 is used up" in output
    assert "the same command goes on" in output
    assert (tmp_path / "outputs" / "ablation_centerness" / "report" / "report.html").exists()
    assert set(statuses(tmp_path).values()) == {"KILLED"}
    stopped = [trial for trial in trials_of(tmp_path) if (trial / "checkpoints").exists()]
    assert [checkpoint_folder.newest_step(trial / "checkpoints") for trial in stopped] == [
        max(loss_steps(trial)) for trial in stopped
    ]
    steps = [loss_steps(trial) for trial in trials_of(tmp_path)]
    # The same command again begins nothing: the hours are those of all commands.
    again = sweep(tmp_path, *words, "budget.wall_hours=0.003")
    assert again.returncode == 4 and "budget.wall_hours=0.003 is used up" in again.stdout, again.stdout + again.stderr
    assert [loss_steps(trial) for trial in trials_of(tmp_path)] == steps
    finished(tmp_path, *words, "budget.wall_hours=1", "report=false")
    assert set(statuses(tmp_path).values()) == {"FINISHED"}
    assert len(runs(tmp_path)) == 5
    for trial in trials_of(tmp_path):
        assert loss_steps(trial) == list(range(2, 101, 2)), "a step was done again"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs to mount a small tmpfs, as root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.mark.slow
def test_a_full_disk_costs_no_checkpoint_and_no_failure(tmp_path: Path, small_disk: Path, hold: Hold) -> None:
    words = (*SHARED, *LONGER, f"tracking.uri=sqlite:///{tmp_path / 'store.db'}")
    (tmp_path / "outputs").symlink_to(small_disk)
    hold.at(40)
    process = start(tmp_path, *words)
    wait_for(hold.held, process)
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space left"), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
    hold.release()
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 4, output + errors
    assert "no space left on the disk of" in output
    assert "make space, the same command goes on" in output
    (trial,) = trials_of(tmp_path)
    for kept in (trial / "checkpoints").glob("step_*"):
        checkpoint_folder.verify(kept)
    step = checkpoint_folder.newest_step(trial / "checkpoints")
    assert step >= 40
    ballast.unlink()
    finished(tmp_path, *words)
    assert loss_steps(trial)[-1] == 100
