"""Something looked at again and again, in a thread beside the work."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def ticking(name: str, seconds: float, look: Callable[[], None]) -> Iterator[None]:
    """Call `look` every so many seconds from a thread of that name, as long as the block runs."""
    done = threading.Event()

    def run() -> None:
        while not done.wait(seconds):
            look()

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
