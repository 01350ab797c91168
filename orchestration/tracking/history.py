"""Finished runs of earlier commands, over all sweeps and MLflow experiments of a tracking store."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, TypeAdapter, ValidationError

from fcos.storage.bucket.address import BUCKETS
from fcos.storage.sqlite_store.stored_runs import read_runs, read_tags, read_tags_of
from fcos.storage.store_conventions import RunKind, RunStatus, Tag, default_file, default_uri
from orchestration.tracking.addresses import sqlite_file
from orchestration.tracking.problems import StoreUnavailable, TrackingError, store_errors
from orchestration.tracking.sqlite_store import check_sqlite, has_known_tables
from orchestration.tracking.store import connect

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

# Largest number of finished runs that one query returns, newest first.
MAX_RUNS = 1000
FINISHED = f"attributes.status = '{RunStatus.FINISHED}'"
_LOOKS = TypeAdapter(tuple[Annotated[int, Field(ge=1, le=10_000)], ...])


@dataclass(frozen=True)
class TaggedRun:
    """A run in the store, as far as its tags have it."""

    run_id: str
    tags: Mapping[str, str]

    @property
    def name(self) -> str:
        """Label of the run in messages."""
        return f"run {self.run_id[:8]} of {self.sweep}"

    @property
    def sweep(self) -> str:
        return self.tags.get(Tag.SWEEP, "an unnamed sweep")

    @property
    def arm(self) -> str:
        return self.tags.get(Tag.ARM, "")

    @property
    def identity(self) -> str:
        """Identity of training and evaluation together."""
        return self.tags.get(Tag.IDENTITY, "")

    @property
    def is_copy(self) -> bool:
        """Whether its result is copied from another run."""
        return Tag.REUSED_FROM in self.tags


@dataclass(frozen=True)
class PastRun(TaggedRun):
    """A finished run in the store."""

    params: Mapping[str, str]
    metrics: Mapping[str, float]


# Value of a tag -> the runs that have it.
RunsByTag = Mapping[str, list[TaggedRun]]


@dataclass(frozen=True)
class History:
    """The finished runs of a store that are neither superseded nor imported.

    Queries raise TrackingError where it is unavailable.
    """

    # An SQLite file, whose tables are read directly, or the client of any other store.
    store: "Path | MlflowClient"
    # None where it is the file of the output folder.
    given_uri: str | None
    # The output folder of this command.
    output: Path = Path()
    # What `of_trainings` has looked up.
    _of_trainings: dict[str, list[TaggedRun]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def _write_uri(self) -> str:
        """Return the address of the store; of a file it takes SQLAlchemy to write it."""
        return self.given_uri or default_uri(self.output)

    def of_trainings(self, identities: Collection[str]) -> RunsByTag:
        """Return the finished runs of many trainings, as `of_training` does; each is looked up once.

        For a plan, before it is trained: what is finished later is not found.
        """
        new = [identity for identity in dict.fromkeys(identities) if identity not in self._of_trainings]
        found = self._look_up(Tag.TRAIN_IDENTITY, new, self.of_training, finished=True)
        for identity, runs in found.items():
            self._of_trainings[identity] = sorted(runs, key=lambda run: run.is_copy)
        return {identity: self._of_trainings[identity] for identity in identities}

    def of_trunks(self, trunks: Collection[str]) -> RunsByTag:
        """Return the runs of all trainings of many trunk identities, as `of_trunk` does."""
        return self._look_up(Tag.TRUNK, list(dict.fromkeys(trunks)), self.of_trunk, finished=False)

    def _look_up(
        self, tag: str, values: Collection[str], search: Callable[[str], list[PastRun]], *, finished: bool
    ) -> dict[str, list[TaggedRun]]:
        """Return the current runs by the value of a tag: of an SQLite file at once, else by a query for each value."""
        if not isinstance(self.store, Path) or not values:
            return {value: list[TaggedRun](search(value)) for value in values}
        found: dict[str, list[TaggedRun]] = {value: [] for value in values}
        with store_errors(self._write_uri):
            by_run = read_tags(self.store, tag, values)
        for run_id, run in by_run.items():
            if _is_current(run.tags) and (run.status == RunStatus.FINISHED or not finished):
                found[run.tags[tag]].append(TaggedRun(run_id, _relocated(run.tags, self.output)))
        return found

    def of_training(self, identity: str) -> list[PastRun]:
        """Return the runs of one training identity: originals before copies, newest first."""
        runs = self._search({Tag.TRAIN_IDENTITY: identity})
        return sorted(runs, key=lambda run: run.is_copy)

    def begun(self, identity: str) -> list[PastRun]:
        """Return the runs of one training identity in any state, newest first: also of those that run now."""
        return self._search({Tag.TRAIN_IDENTITY: identity}, finished=False)

    def of_trunk(self, trunk: str) -> list[PastRun]:
        """Return the runs of all trainings of one trunk identity, finished or not, newest first."""
        return self._search({Tag.TRUNK: trunk}, finished=False)

    def of_data(self, digest: str) -> list[PastRun]:
        """Return the newest trials of sweeps on the data of a digest."""
        return self._search({Tag.KIND: RunKind.TRIAL, Tag.DATA_DIGEST: digest})

    def looks_of(self, sweep_run: str) -> tuple[int, ...]:
        """Return the looks that a sweep's own run records, of a deleted one too; empty where there are none.

        Raises StoreUnavailable where the store stops answering.
        """
        try:
            with store_errors(self._write_uri):
                if isinstance(self.store, Path):
                    tags = read_tags_of(self.store, sweep_run)
                else:
                    tags = self.store.get_run(sweep_run).data.tags
            text = tags.get(Tag.LOOKS, "[]")
            return _LOOKS.validate_json(text, strict=True)
        except StoreUnavailable:
            raise
        except (TrackingError, ValidationError):
            return ()

    def newest(self) -> list[PastRun]:
        """Return the newest trials of sweeps and the newest single runs, as they were at the first call."""
        return self._newest

    @cached_property
    def _newest(self) -> list[PastRun]:
        kinds = [self._search({Tag.KIND: kind}) for kind in (RunKind.TRIAL, RunKind.RUN)]
        return [run for runs in kinds for run in runs]

    def _search(self, tags: Mapping[str, str], *, finished: bool = True) -> list[PastRun]:
        """Return the newest runs that have the given values in all of some tags."""
        with store_errors(self._write_uri):
            if isinstance(self.store, Path):
                runs = _read(self.store, tags, finished=finished)
            else:
                runs = _request(self.store, tags, finished=finished)
        return [replace(run, tags=_relocated(run.tags, self.output)) for run in runs if _is_current(run.tags)]


def _request(client: "MlflowClient", tags: Mapping[str, str], *, finished: bool) -> list[PastRun]:
    conditions = [FINISHED] * finished + [f"tags.`{tag}` = '{value}'" for tag, value in tags.items()]
    experiment_ids = [experiment.experiment_id for experiment in client.search_experiments()]
    if not experiment_ids:
        return []
    runs = client.search_runs(experiment_ids, " and ".join(conditions), max_results=MAX_RUNS)
    return [PastRun(run.info.run_id, run.data.tags, run.data.params, run.data.metrics) for run in runs]


def _read(file: Path, tags: Mapping[str, str], *, finished: bool) -> list[PastRun]:
    runs = read_runs(file, tags, status=RunStatus.FINISHED if finished else None, limit=MAX_RUNS)
    return [PastRun(run.run_id, run.tags, run.params, run.metrics) for run in runs]


def _is_current(tags: Mapping[str, str]) -> bool:
    """Return whether a run was neither superseded nor imported.

    What was imported was trained elsewhere: nothing is reused of it, and its pace is not that of this machine.
    """
    return Tag.SUPERSEDED not in tags and Tag.ARCHIVE not in tags


def _relocated(tags: Mapping[str, str], output: Path) -> Mapping[str, str]:
    """Return tags whose paths are those of this host; see `path_here`."""
    paths = {name: path_here(tags[name], output) for name in (Tag.FOLDER, Tag.CHECKPOINT) if name in tags}
    return {**tags, **paths}


def path_here(path: str, output: Path) -> str:
    """Return a path in this host's local folder of a bucket, where one in another host's folder of it is named.

    Such folders are named by the bucket's address alike on all hosts, below caches that are not.
    """
    _, below, rest = path.partition(f"/{BUCKETS}/{output.name}/")
    return str(output / rest) if below and output.parent.name == BUCKETS else path


def open_history(uri: str | None, output: Path) -> History | None:
    """Return the history of a store; None for an SQLite file that is absent or empty.

    A file is read without MLflow, whose import takes longer than all else of a plan.
    Raises TrackingError where the store is unavailable.
    """
    # Without an address there is none to parse, for which SQLAlchemy would be loaded.
    file = sqlite_file(uri) if uri else default_file(output)
    if file is None:
        assert uri, "without an address it is a file"
        return History(connect(uri), uri, output)
    if not (file.exists() and (file.is_dir() or file.stat().st_size)):
        return None
    check_sqlite(file)
    if not has_known_tables(file):
        # MLflow has the word on what it did not make itself.
        connect(uri or default_uri(output))
    return History(file, uri, output)
