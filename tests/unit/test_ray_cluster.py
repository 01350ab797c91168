"""A cluster that does not answer is told at once."""

import socket

import pytest

from fcos.section import ConfigError
from orchestration.command_line import check_overrides
from orchestration.config import ClusterConfig, compose
from orchestration.ray_cluster import connected, patience


def test_a_silent_address_is_not_waited_for() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    told = rf"cluster\.address={address}: Ray cannot be reached: .*refused"
    with pytest.raises(ConfigError, match=told), connected(ClusterConfig(address=address), [], on_workers=False):
        pytest.fail("connected")


@pytest.mark.parametrize("word", ["cluster.stall_minutes=0", "cluster.stall_minutes=soon", "cluster.stall_minute=3"])
def test_a_stall_that_cannot_be_told_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="stall_minute"):
        compose(check_overrides(["+experiment=ablation_centerness", word]))


def test_ray_train_waits_no_longer_for_an_answer_than_a_stall_takes() -> None:
    key = "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"
    assert patience(ClusterConfig()) == {key: "600"}
    assert patience(ClusterConfig(stall_minutes=1)) == {key: "90"}
    assert patience(ClusterConfig(stall_minutes=None)) == {}


def test_an_address_is_local_auto_or_host_and_port() -> None:
    told = "cluster.address=lokal: must be local, auto or host:port"
    with pytest.raises(ConfigError, match=told), connected(ClusterConfig(address="lokal"), [], on_workers=False):
        pytest.fail("connected")
