"""The head of a cluster that was joined: when it is gone, the sweep ends with a word instead of waiting for it."""

import _thread
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

HEAD_SILENT = "does not answer any more"
TICK_SECONDS = 2.0
# One that is busy for a moment is not gone.
MISSES = 3


class HeadLost(RuntimeError):
    """Ray's head does not answer any more; the message names its address."""


@contextmanager
def watched_head(address: str | None) -> Iterator[None]:
    """Leave the block, which may wait in Ray, soon after the head (host:port) is gone; None is a Ray of our own.

    Raises HeadLost.
    """
    if address is None:
        yield
        return
    done, lost = threading.Event(), threading.Event()

    def watch() -> None:
        missed = 0
        while missed < MISSES:
            if done.wait(TICK_SECONDS):
                return
            missed = 0 if answers(address) else missed + 1
        lost.set()
        # Ray's own waiting lets signals through, and goes on without a head for a minute.
        _thread.interrupt_main()

    thread = threading.Thread(target=watch, name="head", daemon=True)
    thread.start()
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        gone = lost.is_set() or (isinstance(error, Exception) and not answers(address))
        if not gone:
            raise
        raise HeadLost(f"the head of the Ray cluster at {address} {HEAD_SILENT}") from None
    finally:
        done.set()
        thread.join()


def answers(address: str) -> bool:
    """Whether somebody listens at host:port."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=TICK_SECONDS).close()
    except OSError:
        return False
    return True
