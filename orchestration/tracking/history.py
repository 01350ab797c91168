"""What earlier commands finished, over all sweeps and MLflow experiments of a tracking store."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.store_conventions import RunKind, Tag, default_uri
from orchestration.tracking.addresses import sqlite_file
from orchestration.tracking.problems import asking
from orchestration.tracking.store import connect

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

# Of the finished runs that others are compared with.
NEWEST = 1000
FINISHED = "attributes.status = 'FINISHED'"


@dataclass(frozen=True)
class PastRun:
    """A finished run as the store keeps it."""

    run_id: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]

    @property
    def name(self) -> str:
        """How a person is told of it."""
        return f"run {self.run_id[:8]} of {self.sweep}"

    @property
    def sweep(self) -> str:
        return self.tags.get(Tag.SWEEP, "an unnamed sweep")

    @property
    def arm(self) -> str:
        return self.tags.get(Tag.ARM, "")

    @property
    def identity(self) -> str:
        """Of training and evaluation together."""
        return self.tags.get(Tag.IDENTITY, "")

    @property
    def is_copy(self) -> bool:
        """Whether it took its result from another run."""
        return Tag.REUSED_FROM in self.tags


@dataclass(frozen=True)
class History:
    """The finished runs of a store that none superseded; raises TrackingError where it stops answering."""

    client: "MlflowClient"
    uri: str

    def of_training(self, identity: str) -> list[PastRun]:
        """Runs of one training identity, those that are no copies first, then the newest."""
        runs = self._search(f"{FINISHED} and tags.`{Tag.TRAIN_IDENTITY}` = '{identity}'")
        return sorted(runs, key=lambda run: run.is_copy)

    def newest(self) -> list[PastRun]:
        """The newest runs of trainings, and of what counts instead of training."""
        kinds = [self._search(f"{FINISHED} and tags.`{Tag.KIND}` = '{kind}'") for kind in (RunKind.TRIAL, RunKind.RUN)]
        return [run for runs in kinds for run in runs]

    def _search(self, condition: str) -> list[PastRun]:
        with asking(self.uri):
            places = [experiment.experiment_id for experiment in self.client.search_experiments()]
            found = self.client.search_runs(places, condition, max_results=NEWEST) if places else []
        current = [run for run in found if Tag.SUPERSEDED not in run.data.tags]
        return [PastRun(run.info.run_id, run.data.tags, run.data.params, run.data.metrics) for run in current]


def open_history(uri: str | None, output: Path) -> History | None:
    """The history of a store; None for an SQLite file that nothing was ever written to.

    Raises TrackingError where the store does not answer.
    """
    address = uri or default_uri(output)
    file = sqlite_file(address)
    if file is not None and not (file.exists() and (file.is_dir() or file.stat().st_size)):
        return None
    return History(connect(address), address)
