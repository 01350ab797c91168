"""Buffer for artifacts that the store did not accept: retried later, reported once, blocking nothing else."""

import logging
import time
from collections import Counter
from collections.abc import Callable

from orchestration.tracking.addresses import without_secrets
from orchestration.tracking.problems import reason
from orchestration.tracking.store import RunKey, Store

# As long as a place that takes nothing is left alone.
AGAIN_SECONDS = 60.0


class ArtifactBuffer:
    """The artifacts of one command's runs on their way to a store; `problem` is why some are not there."""

    def __init__(self) -> None:
        self.problem = ""
        self._waiting: list[tuple[RunKey, Callable[[], None]]] = []
        self._blocked_until = 0.0
        self._told: set[str] = set()

    @property
    def missing(self) -> Counter[RunKey]:
        """How many artifacts of each run are not in the store."""
        return Counter(key for key, _ in self._waiting)

    def deliver(self, store: Store, key: RunKey, call: Callable[[], None]) -> None:
        """Store an artifact, or keep it for later; raises where the store as a whole takes nothing."""
        if time.monotonic() < self._blocked_until:
            self._waiting.append((key, call))
            return
        try:
            call()
        except Exception as error:  # whatever the client of the place raises
            store.check()
            self._keep(store, key, call, error)

    def retry(self, store: Store) -> None:
        """Try what is missing once more; raises where the store as a whole takes nothing."""
        waiting, self._waiting, self._blocked_until = self._waiting, [], 0.0
        while waiting:
            try:
                self.deliver(store, *waiting[0])
            except Exception:
                self._waiting += waiting
                raise
            waiting.pop(0)

    def tell(self, problem: str) -> None:
        """Warn of why artifacts cannot be stored, once for each reason."""
        self.problem = problem
        if problem not in self._told:
            logging.getLogger(__name__).warning(
                "artifacts cannot be stored: %s; params, points and tags are, and what is missing is tried again",
                problem,
            )
        self._told.add(problem)

    def _keep(self, store: Store, key: RunKey, call: Callable[[], None], error: Exception) -> None:
        problem = store.artifact_problem()
        if problem is None:
            # Something else than its place; a connection may be back.
            try:
                call()
                return
            except Exception as again:
                problem = without_secrets(reason(again), store.uri)
        else:
            self._blocked_until = time.monotonic() + AGAIN_SECONDS
        self._waiting.append((key, call))
        self.tell(problem)
