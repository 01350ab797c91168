"""Notices that a machine will be taken away: to a training that goes on with fewer workers, and amid an evaluation."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.experiments.sweeps import (
    client,
    loss_steps,
    points,
    runs,
    start,
    sweep,
    training_processes,
    trials_of,
    wait_for,
)
from tests.helpers.processes.holding import Hold
from tests.helpers.processes.interrupted import LOG, SINGLE, STEPS, check_whole, summary_of
from tests.helpers.processes.ray_nodes import Nodes, nodes, ray_folder
from tests.helpers.processes.waiting import PATIENCE

__all__ = ["nodes", "ray_folder"]

pytestmark = pytest.mark.slow(minutes=1)

# Seconds from the notice to the loss of a machine: more than a test has to wait for anything.
DEADLINE = 3600
EVERY = ("steps", "eval_every", "checkpoint_every")
EVALUATED = 20
NAMES = ("none seed 0", "from_regression seed 0")


def values_of(folder: Path) -> dict[str, list[tuple[str, int, float]]]:
    found, store = runs(folder), client(folder)
    return {name: points(found[name], store) for name in NAMES}


def workers_have_notice() -> bool:
    """Whether Ray Train has passed a notice on to a worker, which it logs there."""
    logs = Path(os.environ["RAY_TMPDIR"]).rglob("*.log")
    return any("received preemption signal" in log.read_text(errors="replace") for log in logs if log.is_file())


def is_on(node: object, cluster: Nodes, pid: int) -> bool:
    try:
        return cluster.node_of(pid) is node
    except OSError:
        # It has just ended.
        return False


def test_fewer_workers_go_on_while_the_machine_with_notice_is_still_there(
    tmp_path: Path, nodes: Callable[..., Nodes], hold: Hold
) -> None:
    cluster = nodes(1, 1)
    more = (
        f"cluster.address={cluster.address}",
        "cluster.workers=2",
        "cluster.min_workers=1",
        "cluster.max_failures=0",
    )
    steps = 400
    hold.at(LOG)
    # No checkpoint but the one that is asked for.
    process = start(tmp_path, *SINGLE, *more, *(f"schedule.{key}={steps}" for key in EVERY))
    wait_for(hold.held, process)
    (trial,) = trials_of(tmp_path)
    node = cluster.node_of(training_processes(trial)[0])
    # Ray ends a node with notice once nothing runs there; a cloud does not.
    cluster.occupy(node)
    cluster.drain(node, DEADLINE)
    hold.release()
    began = time.monotonic()
    wait_for(lambda: any((trial / "checkpoints").glob("step_*")), process)
    saved, done = time.monotonic() - began, len(loss_steps(trial))
    wait_for(lambda: len(loss_steps(trial)) > done, process)
    print(f"{saved:.1f} s from the notice to the checkpoint, {time.monotonic() - began:.1f} s until it goes on")
    assert cluster.is_up(node), "the training went on only after the machine was gone"
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output + errors
    assert cluster.is_up(node)
    check_whole(tmp_path, steps)
    assert loss_steps(trial) == list(range(LOG, steps + 1, LOG)), "a step was done again"
    summary = summary_of(trial)
    step = summary["resumed_from"]
    assert 0 < step < steps and summary["workers"] == [[0, 2], [step, 1]]
    words = f"2, from step {step + 1} on 1"
    assert f"number of workers: {words}; batch size and learning rate stayed as they were" in summary["notes"][-1]
    for name in NAMES:
        assert runs(tmp_path)[name].data.tags["fcos.workers"] == words


@pytest.mark.parametrize("workers", [1, 2])
def test_an_evaluation_is_given_up_for_a_notice_and_done_anew_elsewhere(
    tmp_path: Path, nodes: Callable[..., Nodes], hold: Hold, workers: int
) -> None:
    cluster = nodes(*[1] * (workers + 1))
    words = (
        *SINGLE,
        *(f"cluster.address={cluster.address}", f"cluster.workers={workers}", "cluster.max_failures=0"),
        # Six batches; images that are read when they are evaluated.
        *("data.synthetic.val_images=48", "data.cache_gb=0", "report=false"),
        *(f"schedule.eval_every={EVALUATED}", f"schedule.checkpoint_every={STEPS}"),
    )
    folder, whole = tmp_path / "left", tmp_path / "undisturbed"
    for each in (folder, whole):
        each.mkdir()
    undisturbed = sweep(whole, *words)
    assert undisturbed.returncode == 0, undisturbed.stdout + undisturbed.stderr
    hold.in_evaluation(EVALUATED - LOG)
    process = start(folder, *words)
    wait_for(hold.held, process)
    (trial,) = trials_of(folder)
    assert loss_steps(trial)[-1] == EVALUATED - LOG
    node = cluster.node_of(training_processes(trial)[0])
    cluster.drain(node, DEADLINE)
    if workers > 1:
        wait_for(workers_have_notice, process)
    hold.in_evaluation(float("inf"))
    began = time.monotonic()
    wait_for(lambda: any((trial / "checkpoints").glob("step_*")), process)
    print(f"{time.monotonic() - began:.1f} s from the notice to the checkpoint")
    wait_for(lambda: not any(is_on(node, cluster, pid) for pid in training_processes(trial)), process)
    cluster.lose(node)
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output + errors
    check_whole(folder)
    assert loss_steps(trial) == list(range(LOG, STEPS + 1, LOG)), "a step was done again"
    assert summary_of(trial)["resumed_from"] == EVALUATED
    assert values_of(folder) == values_of(whole)
