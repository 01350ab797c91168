"""A host is gone from one moment to the next, another is added, or a worker on another host hangs."""

import pytest

from tests.helpers.experiments.sweeps import loss_steps, runs, trials_of
from tests.helpers.processes.hosts import HEAD, Hosts
from tests.helpers.processes.interrupted import (
    AGAIN,
    BEYOND,
    INTERVAL,
    LOG,
    SINGLE,
    check_whole,
    redone,
    seconds_until,
    summary_of,
)
from tests.helpers.processes.waiting import PATIENCE

pytestmark = [pytest.mark.slow(minutes=4), pytest.mark.timeout(1800)]

WORDS = (*SINGLE, "cluster.workers=2", "report=false")
# Seconds, of which starting up and the first step must take less.
STALL = 30
# Seconds from a notice to the loss of a machine, as clouds give them.
DEADLINE = 120
EVERY = ("steps", "eval_every", "checkpoint_every")


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_power_of_a_host_fails_and_a_spare_one_is_there_or_comes(hosts: Hosts, when: str) -> None:
    hosts.dashboard = True
    hosts.add(HEAD, "node1", "node2", *(["node3"] if when == "before" else []))
    hosts.hold.at(BEYOND)
    process = hosts.start(*WORDS)
    seconds_until(hosts.held, process)
    (trial,) = trials_of(hosts.shared)
    before = len(loss_steps(trial))
    hosts.lose(hosts.worker(trial, 0)[0].name)
    hosts.hold.release()
    if when == "after":
        hosts.add("node3")
    print(f"{seconds_until(lambda: len(loss_steps(trial)) > before, process):.0f} s from there until it goes on")
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output + errors
    check_whole(hosts.shared)
    assert redone(trial) == AGAIN and summary_of(trial)["resumed_from"] == INTERVAL
    print(f"{AGAIN} steps redone")


def test_a_worker_that_hangs_on_another_host_is_ended_there_and_taken_up(hosts: Hosts) -> None:
    hosts.add(HEAD, "node1", "node2")
    hosts.hold.at(BEYOND)
    process = hosts.start(*WORDS, f"cluster.stall_minutes={STALL / 60}")
    seconds_until(hosts.held, process)
    (trial,) = trials_of(hosts.shared)
    before = len(loss_steps(trial))
    host, pid = hosts.worker(trial, 1)
    host.run("bash", "-c", f"kill -STOP {pid}")
    hosts.hold.release()
    taken_up = seconds_until(lambda: loss_steps(trial)[before + 1 :], process)
    print(f"{taken_up:.0f} s until it goes on")
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output + errors
    assert f"no progress for {STALL} s" in output
    check_whole(hosts.shared)
    print(f"{redone(trial)} steps redone")
    assert 0 < redone(trial) <= INTERVAL
    assert f"no progress for {STALL} s" in runs(hosts.shared)["none seed 0"].data.tags["fcos.notes"]


def test_a_host_that_freezes_counts_as_lost_and_does_no_harm_when_it_wakes(hosts: Hosts) -> None:
    hosts.add(HEAD, "node1", "node2", "node3")
    hosts.hold.at(BEYOND)
    process = hosts.start(*WORDS)
    seconds_until(hosts.held, process)
    (trial,) = trials_of(hosts.shared)
    host, _ = hosts.worker(trial, 1)
    # All of its processes but the first and the shell itself.
    host.run("bash", "-c", "kill -STOP -1")
    hosts.hold.release()
    print(f"{seconds_until(lambda: redone(trial), process):.0f} s until it goes on")
    host.run("bash", "-c", "kill -CONT -1")
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output + errors
    check_whole(hosts.shared)
    print(f"{redone(trial)} steps redone")
    assert 0 < redone(trial) <= INTERVAL


def test_a_host_with_notice_is_left_before_it_goes(hosts: Hosts) -> None:
    hosts.add(HEAD, "node1", "node2", "node3")
    hosts.hold.at(LOG)
    # No checkpoint but the one that the notice brings about.
    steps = 400
    process = hosts.start(*WORDS, *(f"schedule.{key}={steps}" for key in EVERY), "cluster.max_failures=0")
    seconds_until(hosts.held, process)
    (trial,) = trials_of(hosts.shared)
    host, _ = hosts.worker(trial, 1)
    hosts.drain(host.name, DEADLINE)
    hosts.hold.release()
    print(f"{seconds_until(lambda: any((trial / 'checkpoints').glob('step_*')), process):.0f} s until the checkpoint")
    left = seconds_until(lambda: host.name not in (hosts.workers(trial) or {host.name}), process)
    print(f"{left:.0f} s from there until it was left")
    hosts.lose(host.name)
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output + errors
    check_whole(hosts.shared, steps)
    assert redone(trial) == 0 and 0 < summary_of(trial)["resumed_from"] < steps
