"""The head of a cluster that was joined: when it is gone, the sweep ends with a word instead of waiting for it."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TICK_SECONDS = 2.0
# One that is busy for a moment is not gone.
MISSES = 3


@contextmanager
def watched_head(address: str | None, lost: Callable[[str], None]) -> Iterator[None]:
    """Call `lost` with the reason, from a thread, when the head (host:port) is gone; None is a Ray of our own.

    `lost` has to end the process: without a head Ray waits in its own code, deaf to signals, for a minute and then
    ends the process without another word. What Ray raises because of it in the meantime is held back.
    """
    if address is None:
        yield
        return
    done = threading.Event()

    def watch() -> None:
        missed = 0
        while missed < MISSES:
            if done.wait(TICK_SECONDS):
                return
            missed = 0 if answers(address) else missed + 1
        lost(f"the head of the Ray cluster at {address} does not answer any more")

    thread = threading.Thread(target=watch, name="head", daemon=True)
    thread.start()
    try:
        yield
    except Exception:
        if not answers(address):
            # Each look may take as long as the pause before it.
            thread.join(2 * TICK_SECONDS * (MISSES + 1))
        raise
    finally:
        done.set()


def answers(address: str) -> bool:
    """Whether somebody listens at host:port."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=TICK_SECONDS).close()
    except OSError:
        return False
    return True
