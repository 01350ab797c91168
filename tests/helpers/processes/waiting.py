"""Waiting for states: what a test waits for comes on every machine, sooner or later."""

import time
from collections.abc import Callable

# Seconds after which what should have come in moments is taken for a hang: on no machine the measure of anything.
PATIENCE = 600.0


def wait_until(happened: Callable[[], object]) -> None:
    """Wait for something to happen; fails where it does not."""
    until = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < until, "did not happen in time"
        time.sleep(0.01)
