"""A head that is gone is told of once, from a thread; other ends of the block stay what they are."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from orchestration.driver import watchdogs
from orchestration.driver.watchdogs import watch_head
from tests.helpers.processes.waiting import PATIENCE


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    monkeypatch.setattr(watchdogs, "HEAD_TICK_SECONDS", 0.02)
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def address_of(server: socket.socket) -> str:
    return f"127.0.0.1:{server.getsockname()[1]}"


def test_a_head_that_is_gone_is_reported_once(listener: socket.socket) -> None:
    address, reasons, reported = address_of(listener), [], threading.Event()

    def lost(reason: str) -> None:
        reasons.append(reason)
        reported.set()

    with watch_head(address, lost):
        listener.close()
        assert reported.wait(PATIENCE)
        time.sleep(0.1)
    assert reasons == [f"the head of the Ray cluster at {address} does not answer any more"]


def test_an_error_because_the_head_is_gone_comes_after_its_report(listener: socket.socket) -> None:
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
