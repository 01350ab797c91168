"""The history of a tracking store that holds the runs a test gives, without a store."""

from collections.abc import Mapping

from orchestration.tracking.history import History, PastRun
from orchestration.tracking.problems import TrackingError


class StoredRuns(History):
    """A history of some finished runs, the newest first; looks: of the runs of sweeps, by run id.

    problem: why queries for runs of one training, trunk or data set fail.
    """

    def __init__(self, *runs: PastRun, looks: Mapping[str, tuple[int, ...]] | None = None, problem: str = "") -> None:
        # No query reaches a client.
        super().__init__(None, "")  # type: ignore[arg-type]
        self._runs, self._looks, self._problem = runs, looks or {}, problem

    def of_training(self, identity: str) -> list[PastRun]:
        return self._having("fcos.train_identity", identity)

    def begun(self, identity: str) -> list[PastRun]:
        return self.of_training(identity)

    def of_trunk(self, trunk: str) -> list[PastRun]:
        return self._having("fcos.trunk", trunk)

    def of_data(self, digest: str) -> list[PastRun]:
        return self._having("fcos.data_digest", digest)

    def looks_of(self, sweep_run: str) -> tuple[int, ...]:
        return self._looks.get(sweep_run, ())

    def newest(self) -> list[PastRun]:
        return list(self._runs)

    def _having(self, tag: str, value: str) -> list[PastRun]:
        if self._problem:
            raise TrackingError(self._problem)
        return [run for run in self._runs if run.tags.get(tag) == value]
