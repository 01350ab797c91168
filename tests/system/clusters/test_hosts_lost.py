"""A host is gone from one moment to the next."""

import pytest

from tests.helpers.experiments.sweeps import loss_steps, trials_of
from tests.helpers.processes.hosts import HEAD, Hosts
from tests.helpers.processes.interrupted import (
    AGAIN,
    BEYOND,
    INTERVAL,
    SINGLE,
    check_whole,
    redone,
    seconds_until,
    summary_of,
)
from tests.helpers.processes.waiting import PATIENCE

pytestmark = [pytest.mark.slow(minutes=4), pytest.mark.timeout(1800)]

WORDS = (*SINGLE, "cluster.workers=2", "report=false")


def test_the_power_of_a_host_fails_and_a_spare_one_is_there(hosts: Hosts) -> None:
    hosts.dashboard = True
    hosts.add(HEAD, "node1", "node2", "node3")
    hosts.hold.at(BEYOND)
    process = hosts.start(*WORDS)
    seconds_until(hosts.held, process)
    (trial,) = trials_of(hosts.shared)
    before = len(loss_steps(trial))
    hosts.lose(hosts.worker(trial, 0)[0].name)
    hosts.hold.release()
    print(f"{seconds_until(lambda: len(loss_steps(trial)) > before, process):.0f} s from there until it goes on")
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output + errors
    check_whole(hosts.shared)
    assert redone(trial) == AGAIN and summary_of(trial)["resumed_from"] == INTERVAL
    print(f"{AGAIN} steps redone")
