"""Machines of a cluster are lost, announced to be taken away, or the head dies: what a sweep makes of it."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.ray_nodes import Nodes, ray_folder
from tests.system.sweeps import (
    TINY,
    client,
    loss_steps,
    points,
    runs,
    start,
    statuses,
    sweep,
    training_processes,
    trials_of,
    wait_for,
)

__all__ = ["ray_folder"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STEPS, INTERVAL, LOG = 400, 40, 4
ONE = (
    "+experiment=ablation_centerness",
    "experiment.seeds=[0]",
    *TINY,
    f"schedule.steps={STEPS}",
    f"schedule.eval_every={STEPS}",
    f"schedule.checkpoint_every={INTERVAL}",
    f"schedule.log_every={LOG}",
)
# Two trainings, and one with two evaluations.
PAIR = (*ONE, "~experiment.arms.from_regression", "~experiment.paper.from_regression")
SINGLE = (*ONE, "~experiment.arms.branch", "~experiment.paper.branch")
EVERY = ("steps", "eval_every", "checkpoint_every")
WATCHED = Path(__file__).with_name("search_on_workers.py")


@pytest.fixture
def nodes(ray_folder: None) -> Iterator[Callable[..., Nodes]]:
    """Starts a cluster with nodes of so many processors each."""
    made: list[Nodes] = []

    def make(*cpus: int) -> Nodes:
        made.append(Nodes(list(cpus)))
        return made[0]

    yield make
    for each in made:
        each.close()


def furthest(trial: Path) -> int:
    return max(loss_steps(trial), default=0)


def all_beyond(folder: Path, step: int, count: int) -> Callable[[], bool]:
    """Whether so many trainings are beyond a step, each with checkpoints."""
    return lambda: sum(furthest(trial) > step for trial in trials_of(folder)) >= count


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
        told = [(key, step) for key, step, _ in points(one, store)]
        assert len(told) == len(set(told))
        assert [step for key, step in told if key == "train/loss"] == list(range(LOG, steps + 1, LOG))


def redone(trial: Path) -> int:
    """Steps that a training did again after its one break; 0 where there was none."""
    steps = loss_steps(trial)
    turns = [place for place in range(1, len(steps)) if steps[place] <= steps[place - 1]]
    assert len(turns) <= 1, f"restarted more than once: {steps}"
    return steps[turns[0] - 1] - (steps[turns[0]] - LOG) if turns else 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_lost_node_costs_its_own_training_an_interval(
    tmp_path: Path, nodes: Callable[..., Nodes], workers: int
) -> None:
    cluster = nodes(*[workers] * 3)
    more = (f"cluster.address={cluster.address}", f"cluster.workers={workers}", "cluster.concurrent=2")
    # Four workers share what cores there are.
    steps = STEPS // workers
    more += (f"schedule.steps={steps}", f"schedule.eval_every={steps}")
    process = start(tmp_path, str(tmp_path / "left.json"), *PAIR, *more, entry=WATCHED)
    wait_for(all_beyond(tmp_path, INTERVAL, 2), process)
    hit, other = trials_of(tmp_path)
    cluster.lose(cluster.node_of(training_processes(hit)[0]))
    began, before = time.monotonic(), furthest(hit)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, output + errors
    print(f"{time.monotonic() - began:.0f} s from the loss to the end; {before=} {redone(hit)=}")
    check_whole(tmp_path, steps)
    assert len(runs(tmp_path)) == 3
    assert redone(hit) <= INTERVAL + LOG
    assert redone(other) == 0
    assert summary_of(other)["resumed_from"] == 0 < summary_of(hit)["resumed_from"]
    left = json.loads((tmp_path / "left.json").read_text())
    assert set(left["groups"]) == {"REMOVED"} and left["free"] == left["total"] == 2 * workers


def test_without_a_spare_fewer_workers_go_on(tmp_path: Path, nodes: Callable[..., Nodes]) -> None:
    cluster = nodes(1, 1)
    more = (f"cluster.address={cluster.address}", "cluster.workers=2", "cluster.min_workers=1")
    process = start(tmp_path, str(tmp_path / "left.json"), *SINGLE, *more, entry=WATCHED)
    wait_for(all_beyond(tmp_path, INTERVAL, 1), process)
    (trial,) = trials_of(tmp_path)
    cluster.lose(cluster.nodes[0])
    began = time.monotonic()
    before = len(loss_steps(trial))
    wait_for(lambda: len(loss_steps(trial)) > before + 1, process)
    print(f"{time.monotonic() - began:.0f} s from the loss to the next step")
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, output + errors
    check_whole(tmp_path)
    assert redone(trial) <= INTERVAL + LOG
    summary = summary_of(trial)
    resumed = summary["resumed_from"]
    assert summary["workers"] == [[0, 2], [resumed, 1]]
    words = f"2, from step {resumed + 1} on 1"
    assert f"number of workers: {words}; batch size and learning rate stayed as they were" in summary["notes"][-1]
    for name in ("none seed 0", "from_regression seed 0"):
        assert runs(tmp_path)[name].data.tags["fcos.workers"] == words
    report = (tmp_path / "outputs" / "ablation_centerness" / "report" / "report.md").read_text()
    assert words in report
    left = json.loads((tmp_path / "left.json").read_text())
    assert set(left["groups"]) == {"REMOVED"} and left["free"] == left["total"] == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_a_notice_of_preemption_saves_and_moves_without_a_failure(
    tmp_path: Path, nodes: Callable[..., Nodes], workers: int
) -> None:
    cluster = nodes(*[1] * (workers + 1))
    more = (f"cluster.address={cluster.address}", f"cluster.workers={workers}", "cluster.max_failures=0")
    steps = 800 // workers
    # No checkpoint but the one that is asked for.
    process = start(tmp_path, *SINGLE, *more, *(f"schedule.{key}={steps}" for key in EVERY))
    wait_for(all_beyond(tmp_path, LOG, 1), process)
    (trial,) = trials_of(tmp_path)
    node = cluster.node_of(training_processes(trial)[0])
    seconds = 20
    cluster.drain(node, seconds)
    began = time.monotonic()
    wait_for(lambda: (trial / "checkpoints").exists() and any((trial / "checkpoints").glob("step_*")), process)
    took = time.monotonic() - began
    print(f"{took:.1f} s from the notice to the checkpoint")
    assert took < seconds
    time.sleep(max(0.0, seconds - took))
    cluster.lose(node)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, output + errors
    check_whole(tmp_path, steps)
    assert loss_steps(trial) == list(range(LOG, steps + 1, LOG)), "a step was done again"
    assert 0 < summary_of(trial)["resumed_from"] < steps


def test_a_lost_head_ends_the_sweep_and_the_same_command_goes_on(tmp_path: Path, nodes: Callable[..., Nodes]) -> None:
    cluster = nodes(1, 1)
    seeds = ("experiment.seeds=[0,1]", "cluster.concurrent=2")
    process = start(tmp_path, *PAIR, *seeds, f"cluster.address={cluster.address}")
    # One is finished and others run.
    wait_for(lambda: any((trial / "summary.json").exists() for trial in trials_of(tmp_path)), process)
    ended = [trial for trial in trials_of(tmp_path) if (trial / "summary.json").exists()]
    written = {trial: (trial / "summary.json").stat().st_mtime_ns for trial in ended}
    wait_for(all_beyond(tmp_path, INTERVAL, len(ended) + 1), process)
    before = {trial: loss_steps(trial) for trial in trials_of(tmp_path)}
    cluster.lose_head()
    began = time.monotonic()
    output, errors = process.communicate(timeout=120)
    print(f"{time.monotonic() - began:.0f} s from the loss to the end with {process.returncode}\n{output}\n{errors}")
    assert process.returncode == 4, output + errors
    assert "Traceback" not in output + errors
    assert f"the head of the Ray cluster at {cluster.address} does not answer" in output
    assert "RUNNING" not in statuses(tmp_path).values()
    cluster.close()
    again = Nodes([1, 1])
    try:
        done = sweep(tmp_path, *PAIR, *seeds, f"cluster.address={again.address}")
    finally:
        again.close()
    assert done.returncode == 0, done.stdout + done.stderr
    check_whole(tmp_path)
    for trial, steps in before.items():
        if trial in written:
            assert (trial / "summary.json").stat().st_mtime_ns == written[trial]
        elif steps:
            assert redone(trial) <= INTERVAL + LOG
