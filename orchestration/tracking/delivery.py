"""A thread that carries out calls to a tracking store in order, and retries while the store takes none."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from orchestration.store_conventions import public_uri
from orchestration.tracking.addresses import without_secrets
from orchestration.tracking.problems import TrackingError, is_passing, problem_of, reason

FLUSH_SECONDS = 2.0
RETRY_SECONDS = 5.0
# As long as the first call in the queue may fail while the store takes others.
STUCK_SECONDS = 15.0
# One call may hang beyond the deadline until it times out by itself.
CALL_SECONDS = 15.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoreCalls:
    """What a delivery does with its store, in the delivery's own thread."""

    # Opens the store; raises where it does not answer.
    open: Callable[[], None]
    # Raises TrackingError where the store as a whole takes no write.
    check: Callable[[], None]
    # Writes what has been collected, every FLUSH_SECONDS.
    flush: Callable[[], None]
    # A call failed and will be repeated; it may have been carried out although its answer was lost.
    on_failure: Callable[[], None]


class Delivery:
    """Calls to one store, from any thread, carried out by a thread of their own.

    A call that the store refuses for good is dropped with a warning. One that fails because the store does not answer
    is repeated, and those behind it wait, as long as the command runs.
    """

    def __init__(self, uri: str, calls: StoreCalls, *, required: bool) -> None:
        self._uri = uri
        self._calls = calls
        self._required = required
        self._queue: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._opened = threading.Event()
        self._refusal: TrackingError | None = None
        self._deadline: float | None = None
        # Why the store took nothing when it was last called.
        self.absence: TrackingError | None = None
        self._warned = False
        self._failing_since: float | None = None
        self._patience = STUCK_SECONDS
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)

    def begin(self) -> None:
        """Open the store and carry out calls from now on."""
        self._thread.start()

    def push(self, call: Callable[[], None]) -> None:
        """Append a call to the queue; returns at once."""
        with self._changed:
            self._queue.append(call)
            self._changed.notify()

    def wait_open(self) -> None:
        """Wait for the store's first answer.

        Raises TrackingError where it can never be opened; where it only does not answer yet, if it is required.
        """
        self._opened.wait()
        if self._refusal is not None:
            raise self._refusal

    def close(self, timeout: float) -> bool:
        """Carry out what is in the queue within `timeout` seconds; returns False if something is left."""
        with self._changed:
            self._deadline = time.monotonic() + timeout
            self._changed.notify()
        self._thread.join(timeout + CALL_SECONDS)
        return not self._queue or self._refusal is not None

    def _run(self) -> None:
        while not self._open():
            if self._refusal is not None or self._is_late():
                return
        flushed = time.monotonic()
        while self._next():
            if time.monotonic() - flushed > FLUSH_SECONDS:
                self._attempt(self._calls.flush)
                flushed = time.monotonic()

    def _open(self) -> bool:
        """Open the store, or wait a little before the next attempt."""
        try:
            self._calls.open()
        except Exception as error:
            if self._required or not is_passing(error):
                # Raised by wait_open, in the thread that asked for the store.
                self._refusal = problem_of(error, self._uri)
                self._opened.set()
                return False
            self._warn(error)
            self._opened.set()
            self._pause()
            return False
        self._warned, self.absence = False, None
        self._opened.set()
        return True

    def _is_late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _next(self) -> bool:
        """Carry out the next call or wait for one; returns False where there is nothing more to do."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._deadline, timeout=FLUSH_SECONDS)
            call = self._queue[0] if self._queue else None
        if call is None:
            return self._deadline is None
        if self._attempt(call):
            self._queue.popleft()
            return True
        return not self._is_late()

    def _attempt(self, call: Callable[[], None]) -> bool:
        """Return whether a call is done with, carried out or refused."""
        try:
            call()
        except Exception as error:  # whatever the store raises, no training may end because of it
            if not is_passing(error) or self._is_stuck():
                words = without_secrets(reason(error), self._uri)
                _log.warning("tracking store %s refused: %s", public_uri(self._uri), words)
                return True
            self._warn(error)
            self._calls.on_failure()
            self._pause()
            return False
        self._warned, self.absence, self._failing_since = False, None, None
        return True

    def _is_stuck(self) -> bool:
        """Return whether one call fails again and again while the store as a whole takes writes."""
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        if now - self._failing_since < self._patience:
            return False
        try:
            self._calls.check()
        except TrackingError:
            return False
        # What else fails is not waited for as long again.
        self._failing_since, self._patience = None, 0.0
        return True

    def _warn(self, error: Exception) -> None:
        """Warn once of a store that takes nothing, until it takes something again."""
        self.absence = problem_of(error, self._uri)
        if not self._warned:
            _log.warning("%s; training goes on, what is not stored yet is kept", self.absence)
        self._warned = True

    def _pause(self) -> None:
        """Wait before the next attempt, not beyond the deadline."""
        with self._changed:
            left = RETRY_SECONDS if self._deadline is None else self._deadline - time.monotonic()
            self._changed.wait_for(lambda: False, timeout=max(0.0, min(RETRY_SECONDS, left)))
