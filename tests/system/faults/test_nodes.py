"""Machines of a cluster are lost, announced to be taken away, or the head dies: what a sweep makes of it."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.trial.processes import start_time
from tests.helpers.experiments.sweeps import (
    loss_steps,
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
from tests.helpers.processes.interrupted import (
    AGAIN,
    BEYOND,
    INTERVAL,
    LOG,
    ONE,
    SINGLE,
    check_whole,
    redone,
    summary_of,
)
from tests.helpers.processes.ray_nodes import Nodes, nodes, ray_folder
from tests.helpers.processes.waiting import PATIENCE, wait_until

__all__ = ["nodes", "ray_folder"]

pytestmark = pytest.mark.slow(minutes=1)

# Two trainings.
PAIR = (*ONE, "~experiment.arms.from_regression", "~experiment.paper.from_regression", "report=false")
EVERY = ("steps", "eval_every", "checkpoint_every")
# Seconds from the notice to the loss of a machine, as clouds give them.
DEADLINE = 120
WATCHED = Path(__file__).parents[1] / "search_on_workers.py"


def lose_node_of(pid: int, cluster: Nodes, process: "subprocess.Popen[str]") -> None:
    """Lose the node of a process, and wait until the process is gone too."""
    cluster.lose(cluster.node_of(pid))
    wait_for(lambda: not start_time(pid), process)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_lost_node_costs_its_own_training_an_interval(
    tmp_path: Path, nodes: Callable[..., Nodes], hold: Hold, workers: int
) -> None:
    cluster = nodes(*[workers] * 3)
    more = (f"cluster.address={cluster.address}", f"cluster.workers={workers}", "cluster.concurrent=2")
    hold.at(BEYOND)
    process = start(tmp_path, str(tmp_path / "left.json"), *PAIR, *more, entry=WATCHED)
    wait_for(lambda: len(hold.held()) == 2, process)
    hit, other = trials_of(tmp_path)
    lose_node_of(hold.held()[hit.name], cluster, process)
    hold.release()
    began = time.monotonic()
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output + errors
    print(f"{time.monotonic() - began:.0f} s from the loss to the end")
    check_whole(tmp_path)
    assert len(runs(tmp_path)) == 3
    assert (redone(hit), redone(other)) == (AGAIN, 0)
    assert (summary_of(hit)["resumed_from"], summary_of(other)["resumed_from"]) == (INTERVAL, 0)
    left = json.loads((tmp_path / "left.json").read_text())
    assert set(left["groups"]) == {"REMOVED"} and left["free"] == left["total"] == 2 * workers


def test_without_a_spare_fewer_workers_go_on(tmp_path: Path, nodes: Callable[..., Nodes], hold: Hold) -> None:
    cluster = nodes(1, 1)
    more = (f"cluster.address={cluster.address}", "cluster.workers=2", "cluster.min_workers=1")
    hold.at(BEYOND)
    process = start(tmp_path, str(tmp_path / "left.json"), *SINGLE, *more, entry=WATCHED)
    wait_for(hold.held, process)
    (trial,) = trials_of(tmp_path)
    lose_node_of(hold.held()[trial.name], cluster, process)
    hold.release()
    began = time.monotonic()
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output + errors
    print(f"{time.monotonic() - began:.0f} s from the loss to the end")
    check_whole(tmp_path)
    assert redone(trial) == AGAIN
    summary = summary_of(trial)
    assert summary["workers"] == [[0, 2], [INTERVAL, 1]]
    words = f"2, from step {INTERVAL + 1} on 1"
    assert f"number of workers: {words}; batch size and learning rate stayed as they were" in summary["notes"][-1]
    for name in ("none seed 0", "from_regression seed 0"):
        assert runs(tmp_path)[name].data.tags["fcos.workers"] == words
    report = (tmp_path / "outputs" / "ablation_centerness" / "report" / "report.md").read_text()
    assert words in report
    left = json.loads((tmp_path / "left.json").read_text())
    assert set(left["groups"]) == {"REMOVED"} and left["free"] == left["total"] == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_a_notice_of_preemption_saves_and_moves_without_a_failure(
    tmp_path: Path, nodes: Callable[..., Nodes], hold: Hold, workers: int
) -> None:
    cluster = nodes(*[1] * (workers + 1))
    more = (f"cluster.address={cluster.address}", f"cluster.workers={workers}", "cluster.max_failures=0")
    # The notice is there before the second question of a run, which comes in time where its first step took 10 ms.
    steps = 400
    hold.at(LOG)
    # No checkpoint but the one that is asked for.
    process = start(tmp_path, *SINGLE, *more, *(f"schedule.{key}={steps}" for key in EVERY))
    wait_for(hold.held, process)
    (trial,) = trials_of(tmp_path)
    node = cluster.node_of(training_processes(trial)[0])
    cluster.drain(node, DEADLINE)
    hold.release()
    began = time.monotonic()
    wait_for(lambda: any((trial / "checkpoints").glob("step_*")), process)
    print(f"{time.monotonic() - began:.1f} s from the notice to the checkpoint")
    wait_for(lambda: not any(cluster.node_of(pid) is node for pid in training_processes(trial)), process)
    assert cluster.is_up(node), "the training left only after the machine was gone"
    cluster.lose(node)
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output + errors
    check_whole(tmp_path, steps)
    assert loss_steps(trial) == list(range(LOG, steps + 1, LOG)), "a step was done again"
    assert 0 < summary_of(trial)["resumed_from"] < steps


def test_a_lost_head_ends_the_sweep_and_the_same_command_goes_on(
    tmp_path: Path, nodes: Callable[..., Nodes], hold: Hold
) -> None:
    cluster = nodes(1, 1)
    seeds = ("experiment.seeds=[0,1]", "cluster.concurrent=2")
    hold.at(BEYOND)
    process = start(tmp_path, *PAIR, *seeds, f"cluster.address={cluster.address}")
    wait_for(lambda: len(hold.held()) == 2, process)
    # One is finished, and another runs in its place.
    first, second = started(tmp_path)
    hold.release(first)
    wait_for(lambda: (first / "summary.json").exists() and len(hold.held()) == 2, process)
    written = (first / "summary.json").stat().st_mtime_ns
    (third,) = set(started(tmp_path)) - {first, second}
    cluster.lose_head()
    began = time.monotonic()
    output, errors = process.communicate(timeout=PATIENCE)
    print(f"{time.monotonic() - began:.0f} s from the loss to the end with {process.returncode}\n{output}\n{errors}")
    assert process.returncode == 4, output + errors
    assert "Traceback" not in output + errors
    assert f"the head of the Ray cluster at {cluster.address} does not answer" in output
    assert "RUNNING" not in statuses(tmp_path).values()
    cluster.close()
    wait_until(lambda: not hold.held())
    hold.release()
    again = Nodes([1, 1])
    try:
        done = sweep(tmp_path, *PAIR, *seeds, f"cluster.address={again.address}")
    finally:
        again.close()
    assert done.returncode == 0, done.stdout + done.stderr
    check_whole(tmp_path)
    assert (first / "summary.json").stat().st_mtime_ns == written
    assert (redone(second), redone(third)) == (AGAIN, AGAIN)
