"""Hosts that share nothing but the folder for output: trainings span them."""

import pytest

from tests.helpers.experiments.sweeps import trials_of
from tests.helpers.processes.hosts import HEAD, Hosts
from tests.helpers.processes.interrupted import SINGLE, check_whole, redone

pytestmark = pytest.mark.slow(minutes=2)


def check_trained_on_two(hosts: Hosts) -> None:
    """The training is whole, and each node has drawn the data for itself."""
    check_whole(hosts.shared)
    (trial,) = trials_of(hosts.shared)
    assert redone(trial) == 0
    for name in (HEAD, "node1", "node2"):
        drawn = hosts[name].home / "cache"
        assert [*drawn.glob("synthetic-*/train.json")], f"{name}: {sorted(drawn.rglob('*'))}"


def test_two_workers_train_over_hosts_with_checkouts_and_caches_of_their_own(hosts: Hosts) -> None:
    hosts.add(HEAD, "node1", "node2")
    done = hosts.run(*SINGLE, "cluster.workers=2", "report=false")
    assert done.returncode == 0, done.stdout + done.stderr
    check_trained_on_two(hosts)
