"""A thread that executes calls to a tracking store in order, and retries while the store is unavailable."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from fcos.storage.store_conventions import public_uri
from orchestration.tracking.addresses import without_secrets
from orchestration.tracking.problems import TrackingError, error_reason, is_transient, to_tracking_error

FLUSH_SECONDS = 2.0
RETRY_SECONDS = 5.0
# How long the first call in the queue may keep failing while the store accepts other writes.
STUCK_SECONDS = 15.0
# Time beyond the deadline for a call that hangs until it times out by itself.
CALL_SECONDS = 15.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoreCalls:
    """Operations of a store that the delivery thread calls."""

    # Opens the store; raises where it does not answer.
    open: Callable[[], None]
    # Raises TrackingError where the store as a whole accepts no writes.
    check: Callable[[], None]
    # Writes the buffered points, every FLUSH_SECONDS.
    flush: Callable[[], None]
    # Called after a call failed that will be repeated; it may have succeeded although its response was lost.
    on_failure: Callable[[], None]


class Delivery:
    """Queue of calls to one store, filled from any thread and executed by one background thread.

    A call that fails permanently is dropped with a warning. One that fails because the store is unavailable is
    repeated as long as the command runs, and those behind it wait. MLflow repeats none itself (`store.RETRIES`): a call
    may have been executed although its answer was lost, which `on_failure` has to prepare for.
    """

    def __init__(self, uri: str, calls: StoreCalls, *, required: bool, delay: float = 0.0) -> None:
        self._uri = uri
        self._delay, self._may_open = delay, threading.Event()
        self._calls = calls
        self._required = required
        # Each call with the time at which it was pushed.
        self._queue: deque[tuple[Callable[[], None], float]] = deque()
        self._changed = threading.Condition()
        self._opened = threading.Event()
        self._refusal: TrackingError | None = None
        self._deadline: float | None = None
        # Why the last call failed; None after one that succeeded.
        self.outage: TrackingError | None = None
        self._warned = False
        # Whether the call that failed last has been repeated.
        self._repeated = False
        self._failing_since: float | None = None
        self._stuck_seconds = STUCK_SECONDS
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)

    def begin(self) -> None:
        """Start the thread, which opens the store, after `delay` seconds at the latest, and then executes calls."""
        self._thread.start()

    def open_now(self) -> None:
        """End the delay before the store is opened."""
        self._may_open.set()

    def push(self, call: Callable[[], None]) -> None:
        """Append a call to the queue; returns at once."""
        with self._changed:
            self._queue.append((call, time.monotonic()))
            self._changed.notify()

    @property
    def lag_seconds(self) -> float:
        """How long the oldest call that is not executed yet has waited; 0 where none waits."""
        try:
            return time.monotonic() - self._queue[0][1]
        except IndexError:
            return 0.0

    def wait_open(self) -> None:
        """Wait for the first attempt to open the store.

        Raises TrackingError for a permanent failure; for a transient one only if the store is required.
        """
        self.open_now()
        self._opened.wait()
        if self._refusal is not None:
            raise self._refusal

    def close(self, timeout: float) -> bool:
        """Execute the queued calls within `timeout` seconds; return False if some are left."""
        self.open_now()
        with self._changed:
            self._deadline = time.monotonic() + timeout
            self._changed.notify()
        self._thread.join(timeout + CALL_SECONDS)
        return not self._queue or self._refusal is not None

    def _run(self) -> None:
        self._may_open.wait(self._delay)
        while not self._open():
            if self._refusal is not None or self._is_past_deadline():
                return
        flushed = time.monotonic()
        while self._process_next():
            if time.monotonic() - flushed > FLUSH_SECONDS:
                self._attempt(self._calls.flush)
                flushed = time.monotonic()

    def _open(self) -> bool:
        """Return whether the store could be opened; pause before the next attempt where not."""
        try:
            self._calls.open()
        except Exception as error:
            if self._required or not is_transient(error):
                # Raised by wait_open, in the calling thread.
                self._refusal = to_tracking_error(error, self._uri)
                self._opened.set()
                return False
            self._warn(error)
            self._opened.set()
            self._pause()
            return False
        self._warned, self.outage = False, None
        self._opened.set()
        return True

    def _is_past_deadline(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _process_next(self) -> bool:
        """Execute the next call or wait for one; return False when the thread should end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._deadline, timeout=FLUSH_SECONDS)
            call = self._queue[0][0] if self._queue else None
        if call is None:
            return self._deadline is None
        if self._attempt(call):
            self._queue.popleft()
            return True
        return not self._is_past_deadline()

    def _attempt(self, call: Callable[[], None]) -> bool:
        """Return whether a call can leave the queue, executed or permanently refused."""
        try:
            call()
        except Exception as error:  # no error of the store may end a training
            if not is_transient(error) or self._is_stuck():
                cause = without_secrets(error_reason(error), self._uri)
                _log.warning("tracking store %s refused: %s", public_uri(self._uri), cause)
                return True
            self._calls.on_failure()
            self.outage = to_tracking_error(error, self._uri)
            if self._repeated:
                self._warn(error)
                self._pause()
            # A server may close a connection in the moment in which a call uses it: no outage, if another one answers.
            self._repeated = True
            return False
        self._warned, self._repeated, self.outage, self._failing_since = False, False, None, None
        return True

    def _is_stuck(self) -> bool:
        """Return whether one call keeps failing while the store as a whole accepts writes."""
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        if now - self._failing_since < self._stuck_seconds:
            return False
        try:
            self._calls.check()
        except TrackingError:
            return False
        # The next call that fails this way is dropped without that waiting time.
        self._failing_since, self._stuck_seconds = None, 0.0
        return True

    def _warn(self, error: Exception) -> None:
        """Log one warning for each period in which the store is unavailable."""
        self.outage = to_tracking_error(error, self._uri)
        if not self._warned:
            _log.warning("%s; training goes on, what is not stored yet is kept", self.outage)
        self._warned = True

    def _pause(self) -> None:
        """Wait before the next attempt, not beyond the deadline."""
        with self._changed:
            left = RETRY_SECONDS if self._deadline is None else self._deadline - time.monotonic()
            self._changed.wait_for(lambda: False, timeout=max(0.0, min(RETRY_SECONDS, left)))
