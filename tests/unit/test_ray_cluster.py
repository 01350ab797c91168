"""A cluster that does not answer is told at once."""

import socket

import pytest

from fcos.config import ConfigError
from orchestration.config import ClusterConfig
from orchestration.ray_cluster import connected


def test_a_silent_address_is_not_waited_for() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    told = rf"cluster\.address={address}: Ray cannot be reached: .*refused"
    with pytest.raises(ConfigError, match=told), connected(ClusterConfig(address=address), [], on_workers=False):
        pytest.fail("connected")


def test_an_address_is_local_auto_or_host_and_port() -> None:
    told = "cluster.address=lokal: must be local, auto or host:port"
    with pytest.raises(ConfigError, match=told), connected(ClusterConfig(address="lokal"), [], on_workers=False):
        pytest.fail("connected")
