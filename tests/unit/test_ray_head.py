"""A head that is gone ends the block that waits for it; other ends stay what they are."""

import signal
import socket
import time
from collections.abc import Iterator

import pytest

from orchestration import ray_head
from orchestration.ray_head import HeadLost, watched_head


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    monkeypatch.setattr(ray_head, "TICK_SECONDS", 0.02)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server
    signal.signal(signal.SIGINT, before)


def address_of(server: socket.socket) -> str:
    return f"127.0.0.1:{server.getsockname()[1]}"


def test_a_block_that_waits_is_left_when_the_head_is_gone(listener: socket.socket) -> None:
    address, began = address_of(listener), time.monotonic()
    with pytest.raises(HeadLost, match=rf"at {address} does not answer any more"), watched_head(address):
        listener.close()
        while time.monotonic() - began < 5:
            time.sleep(0.01)
        pytest.fail("went on")


def test_an_error_because_the_head_is_gone_says_so(listener: socket.socket) -> None:
    with pytest.raises(HeadLost), watched_head(address_of(listener)):
        listener.close()
        raise ConnectionError("rpc")


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_other_ends_of_a_block_stay_what_they_are(listener: socket.socket, kind: type[BaseException]) -> None:
    with pytest.raises(kind), watched_head(address_of(listener)):
        raise kind


@pytest.mark.parametrize("own", [True, False])
def test_a_head_that_answers_disturbs_nothing(listener: socket.socket, own: bool) -> None:
    with watched_head(None if own else address_of(listener)):
        time.sleep(0.2)
