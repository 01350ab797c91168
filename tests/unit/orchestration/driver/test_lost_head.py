"""A head that is gone is reported once, from a thread; one that comes back in time is not, nor is another error."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from orchestration.driver import watchdogs
from orchestration.driver.watchdogs import watch_head
from tests.helpers.processes.waiting import PATIENCE, wait_until


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    monkeypatch.setattr(watchdogs, "HEAD_TICK_SECONDS", 0.02)
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def address_of(server: socket.socket) -> str:
    return f"127.0.0.1:{server.getsockname()[1]}"


def test_a_head_that_is_gone_is_reported_once(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdogs, "head_seconds", lambda: 0.1)
    address, reasons, reported = address_of(listener), [], threading.Event()

    def lost(reason: str) -> None:
        reasons.append(reason)
        reported.set()

    with watch_head(address, lost):
        listener.close()
        assert reported.wait(PATIENCE)
        time.sleep(0.1)
    (reason,) = reasons
    assert reason.startswith(f"the head of the Ray cluster at {address} does not answer any more (for ")


@pytest.mark.parametrize(("given", "seconds"), [(None, 45.0), ("75", 60.0), ("soon", 45.0), ("5", 2.0)])
def test_a_head_is_waited_for_as_long_as_rays_nodes_wait_less_what_the_end_takes(
    monkeypatch: pytest.MonkeyPatch, given: str | None, seconds: float
) -> None:
    monkeypatch.delenv("RAY_gcs_rpc_server_reconnect_timeout_s", raising=False)
    if given is not None:
        monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", given)
    assert watchdogs.head_seconds() == seconds


def test_a_head_that_is_out_of_reach_for_a_while_disturbs_nothing(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, reasons, answers = address_of(listener), list[str](), list[bool]()
    checked = watchdogs._answers

    def record(of: str) -> bool:
        answers.append(checked(of))
        return answers[-1]

    monkeypatch.setattr(watchdogs, "_answers", record)
    with watch_head(address, reasons.append):
        listener.close()
        # Longer than a head that is busy for a moment.
        wait_until(lambda: answers.count(False) >= 10)
        with socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))):
            wait_until(lambda: answers[-1])
    assert reasons == []


def test_an_error_because_the_head_is_gone_comes_after_its_report(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdogs, "head_seconds", lambda: 0.1)
    reasons: list[str] = []
    with pytest.raises(ConnectionError), watch_head(address_of(listener), reasons.append):
        listener.close()
        raise ConnectionError("rpc")
    assert len(reasons) == 1


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_other_ends_of_a_block_stay_what_they_are(listener: socket.socket, kind: type[BaseException]) -> None:
    reasons: list[str] = []
    with pytest.raises(kind), watch_head(address_of(listener), reasons.append):
        raise kind
    assert reasons == []


@pytest.mark.parametrize("own", [True, False])
def test_a_head_that_answers_disturbs_nothing(listener: socket.socket, own: bool) -> None:
    reasons: list[str] = []
    with watch_head(None if own else address_of(listener), reasons.append):
        time.sleep(0.2)
    assert reasons == []
