"""The network between hosts is slow and loses packets, or is cut for a minute."""

import subprocess
import time
from pathlib import Path

import pytest

from tests.helpers.experiments.sweeps import loss_steps, statuses, trials_of
from tests.helpers.processes.hosts import HEAD, Hosts
from tests.helpers.processes.interrupted import BEYOND, INTERVAL, SINGLE, check_whole, redone, seconds_until
from tests.helpers.processes.waiting import PATIENCE

pytestmark = [pytest.mark.slow(minutes=5), pytest.mark.timeout(1800)]

WORDS = (*SINGLE, "cluster.workers=2", "report=false")
# Seconds that a cut lasts, and steps over a slow link.
CUT, SLOW = 60.0, 8


def next_report(trial: Path, process: "subprocess.Popen[str]") -> float:
    """Return the seconds until the next report of a training."""
    before = len(loss_steps(trial))
    return seconds_until(lambda: len(loss_steps(trial)) > before, process)


def test_a_slow_link_and_a_cut_between_two_workers_cost_time_alone(hosts: Hosts) -> None:
    hosts.add(HEAD, "node1", "node2")
    hosts.hold.at(BEYOND)
    process = hosts.start(*WORDS)
    seconds_until(hosts.held, process)
    (trial,) = trials_of(hosts.shared)
    hosts.slow_down("node1", "node2", seconds=0.2, loss=0.02)
    hosts.slow_down(HEAD, "node2", seconds=0.2, loss=0.02)
    hosts.hold.at(BEYOND + SLOW)
    took = seconds_until(lambda: BEYOND + SLOW in loss_steps(trial), process)
    print(f"slow: {took / SLOW:.2f} s a step")
    hosts.mend(HEAD, "node2")
    hosts.cut("node1", "node2")
    hosts.hold.release()
    time.sleep(CUT)
    hosts.mend("node1", "node2")
    print(f"cut: {next_report(trial, process):.0f} s from its end to a report")
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output + errors
    check_whole(hosts.shared)
    assert redone(trial) == 0 and "taken up" not in output


def test_a_cut_between_the_head_and_a_host_costs_an_interval_at_most(hosts: Hosts) -> None:
    hosts.add(HEAD, "node1", "node2", "node3")
    hosts.hold.at(BEYOND)
    process = hosts.start(*WORDS)
    seconds_until(hosts.held, process)
    (trial,) = trials_of(hosts.shared)
    host, _ = hosts.worker(trial, 1)
    hosts.cut(HEAD, host.name)
    hosts.hold.release()
    time.sleep(CUT)
    hosts.mend(HEAD, host.name)
    print(f"{next_report(trial, process):.0f} s from the end of the cut to a report")
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output + errors
    check_whole(hosts.shared)
    print(f"{redone(trial)} steps redone")
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
    print(f"{redone(trial)} steps redone")
    assert 0 < redone(trial) <= INTERVAL
