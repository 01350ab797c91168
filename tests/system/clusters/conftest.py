"""Hosts that share nothing but a folder, for the tests of clusters."""

from collections.abc import Iterator

import pytest

from tests.helpers.processes.hosts import Hosts, cluster_of_hosts
from tests.helpers.processes.namespaces import needs_hosts


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """A cluster of hosts, none of which is made yet."""
    needs_hosts()
    with cluster_of_hosts() as made:
        yield made
