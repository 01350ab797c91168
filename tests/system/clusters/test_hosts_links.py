"""The network between hosts is slow and loses packets, or is cut for a minute."""

import time

import pytest

from tests.helpers.experiments.sweeps import loss_steps, statuses, trials_of
from tests.helpers.processes.hosts import HEAD, Hosts
from tests.helpers.processes.interrupted import BEYOND, INTERVAL, SINGLE, STEPS, check_whole, redone, seconds_until
from tests.helpers.processes.waiting import PATIENCE

pytestmark = [pytest.mark.slow(minutes=5), pytest.mark.timeout(1800)]

WORDS = (*SINGLE, "cluster.workers=2", "report=false")
# Seconds that a cut lasts.
CUT = 60.0


def test_a_link_that_is_slow_and_loses_packets_costs_time_alone(hosts: Hosts) -> None:
    hosts.add(HEAD, "node1", "node2")
    hosts.hold.at(BEYOND)
    process = hosts.start(*WORDS)
    seconds_until(hosts.held, process)
    (trial,) = trials_of(hosts.shared)
    for other in (HEAD, "node1"):
        hosts.slow_down("node2", other, seconds=0.2, loss=0.02)
    hosts.hold.release()
    took = seconds_until(lambda: STEPS in loss_steps(trial), process)
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output + errors
    print(f"{took / (STEPS - BEYOND):.2f} s a step")
    check_whole(hosts.shared)
    assert redone(trial) == 0 and "taken up" not in output


@pytest.mark.parametrize("ends", ["two workers", "head and node"])
def test_a_cut_of_a_minute_costs_an_interval_at_most(hosts: Hosts, ends: str) -> None:
    hosts.add(HEAD, "node1", "node2", "node3")
    hosts.hold.at(BEYOND)
    process = hosts.start(*WORDS)
    seconds_until(hosts.held, process)
    (trial,) = trials_of(hosts.shared)
    workers = [hosts.worker(trial, rank)[0].name for rank in (0, 1)]
    one, other = workers if ends == "two workers" else (HEAD, workers[1])
    hosts.cut(one, other)
    hosts.hold.release()
    time.sleep(CUT)
    hosts.mend(one, other)
    before = len(loss_steps(trial))
    print(f"{seconds_until(lambda: len(loss_steps(trial)) > before, process):.0f} s from the end of the cut to a step")
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output + errors
    check_whole(hosts.shared)
    print(f"{redone(trial)} steps redone; {output}")
    assert redone(trial) <= INTERVAL


def test_a_command_that_is_cut_off_from_the_head_ends_and_the_same_one_goes_on(hosts: Hosts) -> None:
    hosts.add(HEAD, "node1", "node2", "node3")
    hosts.hold.at(BEYOND)
    process = hosts.start(*WORDS, on="node3")
    seconds_until(hosts.held, process)
    (trial,) = trials_of(hosts.shared)
    hosts.cut(HEAD, "node3")
    began = time.monotonic()
    output, errors = process.communicate(timeout=PATIENCE)
    print(f"{time.monotonic() - began:.0f} s until it ends")
    assert process.returncode == 4, output + errors
    assert "the head of the Ray cluster at" in output and "does not answer any more" in output
    assert "RUNNING" not in statuses(hosts.shared).values()
    hosts.mend(HEAD, "node3")
    hosts.hold.release()
    again = hosts.run(*WORDS)
    assert again.returncode == 0, again.stdout + again.stderr
    check_whole(hosts.shared)
    assert 0 < redone(trial) <= INTERVAL
