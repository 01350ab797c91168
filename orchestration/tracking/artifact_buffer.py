"""Buffer for artifacts that the store did not accept: retried later, logged once, without blocking other calls."""

import logging
import time
from collections import Counter
from collections.abc import Callable

from orchestration.tracking.addresses import without_secrets
from orchestration.tracking.problems import error_reason
from orchestration.tracking.store import RunKey, Store

# Pause before the next attempt after the artifact location accepted nothing.
BLOCKED_SECONDS = 60.0


class ArtifactBuffer:
    """Buffer of the artifacts of one command's runs; `problem` is why some are not stored."""

    def __init__(self) -> None:
        self.problem = ""
        self._waiting: list[tuple[RunKey, Callable[[], None]]] = []
        self._blocked_until = 0.0
        self._logged: set[str] = set()

    @property
    def missing(self) -> Counter[RunKey]:
        """Number of artifacts of each run that are not in the store."""
        return Counter(key for key, _ in self._waiting)

    def deliver(self, store: Store, key: RunKey, call: Callable[[], None]) -> None:
        """Store an artifact, or buffer it; raises where the store as a whole accepts no writes."""
        if time.monotonic() < self._blocked_until:
            self._waiting.append((key, call))
            return
        try:
            call()
        except Exception as error:  # the clients of artifact stores raise errors of any type
            store.check()
            self._keep(store, key, call, error)

    def retry(self, store: Store) -> None:
        """Retry all buffered artifacts; raises where the store as a whole accepts no writes."""
        waiting, self._waiting, self._blocked_until = self._waiting, [], 0.0
        while waiting:
            try:
                self.deliver(store, *waiting[0])
            except Exception:
                self._waiting += waiting
                raise
            waiting.pop(0)

    def warn(self, problem: str) -> None:
        """Log a warning that artifacts cannot be stored, once for each reason."""
        self.problem = problem
        if problem not in self._logged:
            logging.getLogger(__name__).warning(
                "artifacts cannot be stored: %s; params, points and tags are, and what is missing is tried again",
                problem,
            )
        self._logged.add(problem)

    def _keep(self, store: Store, key: RunKey, call: Callable[[], None], error: Exception) -> None:
        problem = store.artifact_problem()
        if problem is None:
            # The artifact location is writable: a connection may have been lost and be back.
            try:
                call()
                return
            except Exception as again:
                problem = without_secrets(error_reason(again), store.uri)
        else:
            self._blocked_until = time.monotonic() + BLOCKED_SECONDS
        self._waiting.append((key, call))
        self.warn(problem)
