"""Runs of a sweep in the tracking store, written by a background thread so that no training waits for the store."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from fcos.storage.store_conventions import Artifact, RunKind, RunStatus, Tag, default_uri
from orchestration.tracking.artifact_buffer import ArtifactBuffer
from orchestration.tracking.datasets import DatasetsNotSupported, RunDataset, log_datasets
from orchestration.tracking.delivery import Delivery, StoreCalls
from orchestration.tracking.problems import TrackingError, is_transient
from orchestration.tracking.store import RunKey, Store, StoredRun, is_same_value, legal_name, open_store

SWEEP: RunKey = (None, None)


@dataclass(frozen=True)
class RunFacts:
    """Properties of a run that are known before it starts."""

    name: str
    tags: Mapping[str, str]
    # Logged as dotted params.
    params: Mapping[str, Any] = field(default_factory=dict)
    # File name -> plain value, stored as JSON.
    files: Mapping[str, Any] = field(default_factory=dict)
    # Run whose training it shares: a key of this sweep, or the id of another sweep's run; None for its own.
    trained_by: RunKey | str | None = None
    # What it is trained and validated on.
    datasets: Sequence[RunDataset] = ()


@dataclass
class _Run:
    run_id: str
    # Points known to be stored; None where they have to be read from the store first.
    stored: dict[tuple[str, int], float] | None
    pending: dict[tuple[str, int], tuple[float, int]] = field(default_factory=dict)
    open: bool = True


def artifact_folder(uri: str | None, output: Path) -> Path | None:
    """Return the artifact folder of the default store in the output folder; None for a store with an address."""
    return None if uri else output / "mlartifacts"


def require_store(uri: str | None, experiment: str, output: Path) -> None:
    """Raise TrackingError for a store that does not accept runs and their artifacts now."""
    address = uri or default_uri(output)
    open_store(address, experiment, artifact_folder(uri, output)).check_artifacts()


class Tracker:
    """Writer of the runs of one sweep, found or created by tags; points are idempotent by (run, key, step, value).

    A run belongs to one training (see StoredRun.belongs_to): an earlier run of the same arm and seed but of another
    training is marked as superseded, and a new run is created.

    `start`, `add`, `end` and `add_files` return at once. While the store is unavailable, their calls are kept in
    memory and retried as long as the sweep runs. It is opened `delay` seconds later, or once something waits for it.
    """

    def __init__(
        self,
        uri: str | None,
        experiment: str,
        output: Path,
        sweep_key: str,
        *,
        required: bool = False,
        delay: float = 0.0,
    ) -> None:
        self.uri = uri or default_uri(output)
        self._required = required
        self._sweep_key = sweep_key
        self._store: Store
        # Current runs in the store by key, newest first.
        self._stored_runs: dict[RunKey, list[StoredRun]] = {}
        self._runs: dict[RunKey, _Run] = {}
        # Whether a failed call may have created a run: _stored_runs may be outdated, and a key may have two.
        self._unsure = self._may_double = False
        self._artifacts = ArtifactBuffer()
        # Whether the store keeps the inputs of runs, as far as is known.
        self._takes_datasets = True
        # Ids of runs whose artifacts an earlier command could not store.
        self._incomplete: set[str] = set()
        artifacts = artifact_folder(uri, output)
        calls = StoreCalls(
            open=lambda: self._open_store(experiment, artifacts),
            check=lambda: self._store.check(),
            flush=self._flush_points,
            on_failure=self._mark_unsure,
        )
        self._delivery = Delivery(self.uri, calls, required=required, delay=delay)
        self._push = self._delivery.push
        self._delivery.begin()

    def start(self, key: RunKey, facts: RunFacts) -> None:
        """Find or create a run and mark it RUNNING."""
        # Separate calls, so that a refused one does not affect the others.
        self._push(lambda: self._open(key, facts))
        self._push_for_run(key, lambda: self._describe(key, facts))
        self._push_for_run(key, lambda: self._store.log_params(self._runs[key].run_id, facts.params))
        self._push_for_run(key, lambda: self._log_datasets(key, facts.datasets))
        self.add_json(key, facts.files)

    def add(self, key: RunKey, points: Mapping[tuple[str, int], float], milliseconds: int | None = None) -> None:
        """Add metric points to a run that was started; milliseconds: since 1970, None for now."""
        moment = int(time.time() * 1000) if milliseconds is None else milliseconds
        self._push_for_run(key, lambda: self._buffer_points(key, points, moment))

    def end(self, key: RunKey, status: str, tags: Mapping[str, str], pictures: Sequence[Path] = ()) -> None:
        """Write pending points and close a run as FINISHED, FAILED or KILLED."""
        self._push_for_run(key, lambda: self._flush_run(self._runs[key]))
        self._push_for_run(key, lambda: self._store.set_tags(self._runs[key].run_id, tags))
        self.add_files(key, pictures, Artifact.DETECTIONS)
        self._push_for_run(key, lambda: self._close(key, status))

    def tag(self, key: RunKey, tags: Mapping[str, str]) -> None:
        """Set tags of a run that was started or found, open or closed."""
        self._push(lambda: self._store.set_tags(self.run_id(key) or "", tags))

    def correct(self, key: RunKey, tags: Mapping[str, str]) -> None:
        """Replace tags of an earlier command's run where they differ."""
        for run in self._stored_runs.get(key, ())[:1]:
            if any(run.tags.get(name) != value for name, value in tags.items()):
                self.tag(key, tags)

    def add_json(self, key: RunKey, values: Mapping[str, Any]) -> None:
        """Store plain values as JSON artifacts of a run, open or closed, by file name."""
        for name, value in values.items():
            self._push_artifact(key, partial(self._log_json, key, {name: value}))

    def add_files(self, key: RunKey, files: Sequence[Path], folder: str) -> None:
        """Store files as artifacts of a run, open or closed."""
        for file in files:
            self._push_artifact(key, partial(self._log_file, key, file, folder))

    def is_incomplete(self, key: RunKey) -> bool:
        """Return whether an earlier command could not store all artifacts of this run."""
        return self.run_id(key) in self._incomplete

    def complete(self, key: RunKey) -> None:
        """Mark the artifacts of a run as complete, after the missing ones were added again."""
        self._push(lambda: self._forget_missing(key))

    def open_now(self) -> None:
        """Open the store where that was to come later; returns at once."""
        self._delivery.open_now()

    def wait_open(self) -> None:
        """Wait for the first attempt to open the store.

        Raises TrackingError for a permanent failure; for a transient one only if the store is required.
        """
        self._delivery.wait_open()

    def is_finished(self, key: RunKey, tags: Mapping[str, str]) -> bool:
        """Return whether the run of this training is FINISHED by an earlier command."""
        return any(run.status == RunStatus.FINISHED and run.belongs_to(tags) for run in self._stored_runs.get(key, ()))

    def run_id(self, key: RunKey) -> str | None:
        """Return the id of a run that was started or found; None for any other."""
        if key in self._runs:
            return self._runs[key].run_id
        return self._stored_runs[key][0].run_id if self._stored_runs.get(key) else None

    @property
    def outage(self) -> TrackingError | None:
        """Why the store accepts nothing now; None where it does."""
        return self._delivery.outage

    @property
    def lag_seconds(self) -> float:
        """How far the store is behind what was added to it."""
        return self._delivery.lag_seconds

    @property
    def artifact_problem(self) -> tuple[int, int, str] | None:
        """Number of artifacts not in the store, number of their runs, and the cause; None where all are stored."""
        missing = self._artifacts.missing
        return (missing.total(), len(missing), self._artifacts.problem) if missing else None

    def flush(self, timeout: float) -> bool:
        """Wait until everything added so far is stored; return False after `timeout` seconds without success."""
        done = threading.Event()
        self._push(self._flush_points)
        self._push(self._supersede_doubles)
        self._push(lambda: self._artifacts.retry(self._store))
        self._push(done.set)
        return done.wait(timeout)

    def close(self, timeout: float) -> bool:
        """Close open runs as KILLED, the sweep's own run last; return False if something could not be stored."""
        self._push(lambda: self._artifacts.retry(self._store))
        self._push(self._supersede_doubles)
        self._push(self._kill_open)
        # After the calls that close runs, which _kill_open pushes.
        self._push(lambda: self._push(self._mark_missing))
        return self._delivery.close(timeout)

    def _push_for_run(self, key: RunKey, work: Callable[[], None]) -> None:
        """Push a call for a run, which is skipped where the run itself could not be created."""
        self._push(lambda: work() if key in self._runs else None)

    def _push_artifact(self, key: RunKey, call: Callable[[], None]) -> None:
        self._push(lambda: self._artifacts.deliver(self._store, key, call) if self.run_id(key) else None)

    # The methods below run in the delivery thread.

    def _log_json(self, key: RunKey, values: Mapping[str, Any]) -> None:
        self._store.log_json(self.run_id(key) or "", values)

    def _log_file(self, key: RunKey, file: Path, folder: str) -> None:
        self._store.log_files(self.run_id(key) or "", [file], folder)

    def _forget_missing(self, key: RunKey) -> None:
        run_id = self.run_id(key)
        if run_id is not None and run_id in self._incomplete and key not in self._artifacts.missing:
            self._store.delete_tag(run_id, Tag.ARTIFACTS_MISSING)
            self._incomplete.discard(run_id)

    def _mark_missing(self) -> None:
        """Tag runs whose artifacts are missing, for later commands."""
        for key, count in self._artifacts.missing.items():
            self._store.set_tags(self.run_id(key) or "", {Tag.ARTIFACTS_MISSING: str(count)})

    def _open_store(self, experiment: str, artifacts: Path | None) -> None:
        self._store = open_store(self.uri, experiment, artifacts)
        self._stored_runs = self._store.find_runs(self._sweep_key)
        known = [run for runs in self._stored_runs.values() for run in runs]
        self._incomplete = {run.run_id for run in known if Tag.ARTIFACTS_MISSING in run.tags}
        if self._required:
            self._store.check_artifacts()
        problem = self._store.artifact_problem()
        if problem is not None:
            self._artifacts.warn(problem)

    def _mark_unsure(self) -> None:
        """Discard what is known of the store: a failed call may have succeeded although its response was lost."""
        self._unsure = self._may_double = True
        for run in self._runs.values():
            run.stored = None

    def _supersede_doubles(self) -> None:
        """Supersede runs of calls that the store executed after their repetition had looked for them."""
        if not self._may_double:
            return
        for key, found in self._store.find_runs(self._sweep_key).items():
            for run in found if key in self._runs else ():
                if run.run_id != self._runs[key].run_id:
                    self._store.supersede(run, self._runs[key].run_id)
        self._may_double = False

    def _open(self, key: RunKey, facts: RunFacts) -> None:
        if self._unsure:
            self._stored_runs = self._store.find_runs(self._sweep_key)
            self._unsure = False
        tags = self._tags(key, facts)
        known = self._stored_runs.get(key, [])
        matching = next((run for run in known if run.belongs_to(tags)), None)
        if matching is None:
            run_id = self._store.create(facts.name, tags)
            self._runs[key] = _Run(run_id, stored={})
        else:
            run_id = matching.run_id
            self._store.reopen(run_id, facts.name)
            self._runs[key] = _Run(run_id, stored=None)
        for other in known:
            if other.run_id != run_id:
                self._store.supersede(other, run_id)
        self._stored_runs[key] = [StoredRun(run_id, RunStatus.RUNNING, tags)]
        if key == SWEEP:
            self._relink_children(run_id)

    def _relink_children(self, parent: str) -> None:
        """Restore the tags for parent and kind of earlier trials, whose parent run may have been replaced."""
        tags = {Tag.PARENT_RUN: parent, Tag.KIND: RunKind.TRIAL}
        for runs in (runs for key, runs in self._stored_runs.items() if key != SWEEP):
            for run in runs:
                if any(run.tags.get(name) != value for name, value in tags.items()):
                    self._store.set_tags(run.run_id, tags)

    def _describe(self, key: RunKey, facts: RunFacts) -> None:
        tags = self._tags(key, facts)
        if facts.params:
            own_id, source = self._runs[key].run_id, facts.trained_by
            tags[Tag.TRAINED_BY] = (source if isinstance(source, str) else self.run_id(source or key)) or own_id
        self._store.set_tags(self._runs[key].run_id, tags)

    def _log_datasets(self, key: RunKey, datasets: Sequence[RunDataset]) -> None:
        if not (datasets and self._takes_datasets):
            return
        try:
            log_datasets(self._store.client, self.uri, self._runs[key].run_id, datasets)
        except DatasetsNotSupported:
            # Reported once; all other runs do without.
            self._takes_datasets = False
            raise

    def _tags(self, key: RunKey, facts: RunFacts) -> dict[str, str]:
        tags = {**facts.tags, Tag.SWEEP_KEY: self._sweep_key}
        if key != SWEEP and SWEEP in self._runs:
            tags[Tag.PARENT_RUN] = self._runs[SWEEP].run_id
        return tags

    def _buffer_points(self, key: RunKey, points: Mapping[tuple[str, int], float], moment: int) -> None:
        pending = self._runs[key].pending
        for (name, step), value in points.items():
            pending[legal_name(name), step] = (float(value), moment)

    def _flush_points(self) -> None:
        for run in self._runs.values():
            self._flush_run(run)

    def _flush_run(self, run: _Run) -> None:
        if not run.pending:
            return
        if run.stored is None:
            run.stored = self._store.stored_points(run.run_id)
        # A repeated step may have another value; the one that is written last counts.
        fresh = {
            point: (value, moment)
            for point, (value, moment) in run.pending.items()
            if point not in run.stored or not is_same_value(run.stored[point], value)
        }
        run.pending = fresh
        try:
            self._store.log_points(run.run_id, fresh)
        except Exception as error:
            if not is_transient(error):
                # Permanently refused; the training's own folder still has the points.
                run.pending = {}
            raise
        run.stored.update({point: value for point, (value, _) in fresh.items()})
        run.pending = {}

    def _close(self, key: RunKey, status: str) -> None:
        self._store.close(self._runs[key].run_id, status)
        self._runs[key].open = False

    def _kill_open(self) -> None:
        # The sweep's own run is closed last.
        for key, run in sorted(self._runs.items(), key=lambda item: item[0] == SWEEP):
            if run.open:
                self.end(key, RunStatus.KILLED, {Tag.STATUS: "interrupted"} if key == SWEEP else {})
