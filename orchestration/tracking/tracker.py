"""Runs of a sweep in the tracking store, written by a thread of the driver: no training waits for a slow store."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from orchestration.store_conventions import Artifact, RunKind, Tag, default_uri, public_uri
from orchestration.tracking.artifact_buffer import ArtifactBuffer
from orchestration.tracking.delivery import Delivery, StoreCalls
from orchestration.tracking.problems import TrackingError, is_passing
from orchestration.tracking.store import RunKey, Store, StoredRun, is_same_value, legal_name, open_store

SWEEP: RunKey = (None, None)


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run before it starts."""

    name: str
    tags: Mapping[str, str]
    # Logged as dotted params.
    params: Mapping[str, Any] = field(default_factory=dict)
    # File name -> plain value, stored as JSON.
    files: Mapping[str, Any] = field(default_factory=dict)
    # Whose training it shares, a run of this sweep or the id of another's; None is its own.
    trained_by: RunKey | str | None = None


@dataclass
class _Run:
    run_id: str
    # What the store is known to hold, None where that has to be asked.
    seen: dict[tuple[str, int], float] | None
    waiting: dict[tuple[str, int], tuple[float, int]] = field(default_factory=dict)
    open: bool = True


def artifacts_of(uri: str | None, output: Path) -> Path | None:
    """The folder for artifacts beside the store in the output folder; a store elsewhere chooses its own."""
    return None if uri else output / "mlartifacts"


def require_store(uri: str | None, experiment: str, output: Path) -> None:
    """Raise TrackingError for a store that does not take runs and their artifacts now."""
    address = uri or default_uri(output)
    check_artifacts(open_store(address, experiment, artifacts_of(uri, output)))


def check_artifacts(store: Store) -> None:
    """Raise TrackingError for a store whose artifacts cannot be written."""
    problem = store.artifact_problem()
    if problem is not None:
        raise TrackingError(
            f"tracking.required=true: artifacts of {public_uri(store.uri)} cannot be stored: {problem}; make that "
            "place writable from here, or give another store"
        )


class Tracker:
    """Runs of one sweep, found or created by tags; points are idempotent by (run, key, step, value).

    A run belongs to one training (see StoredRun.belongs_to): where an earlier command left one of the same arm and seed
    for another training, a new run takes over and the old one is marked as superseded.

    `start`, `add`, `end` and `add_files` return at once. A store that does not answer is asked again, from
    memory, as long as the sweep runs.
    """

    def __init__(
        self, uri: str | None, experiment: str, output: Path, sweep_key: str, *, required: bool = False
    ) -> None:
        self.uri = uri or default_uri(output)
        self._required = required
        self._sweep_key = sweep_key
        self._store: Store
        # What earlier commands left, of each key the newest first.
        self._found: dict[RunKey, list[StoredRun]] = {}
        self._runs: dict[RunKey, _Run] = {}
        # A run may have been made by a call whose answer was lost.
        self._unsure = False
        self._artifacts = ArtifactBuffer()
        # Ids of runs that an earlier command left without their artifacts.
        self._incomplete: set[str] = set()
        place = artifacts_of(uri, output)
        calls = StoreCalls(
            open=lambda: self._open_store(experiment, place),
            check=lambda: self._store.check(),
            flush=self._flush,
            on_failure=self._doubt,
        )
        self._delivery = Delivery(self.uri, calls, required=required)
        self._push = self._delivery.push
        self._delivery.begin()

    def start(self, key: RunKey, facts: RunFacts) -> None:
        """Find or create a run and mark it RUNNING."""
        # One piece of work each, so that one that is refused takes no other with it.
        self._push(lambda: self._open(key, facts))
        self._push_of(key, lambda: self._describe(key, facts))
        self._push_of(key, lambda: self._store.log_params(self._runs[key].run_id, facts.params))
        self.add_json(key, facts.files)

    def add(self, key: RunKey, points: Mapping[tuple[str, int], float]) -> None:
        """Take points of a run that was started."""
        now = int(time.time() * 1000)
        self._push_of(key, lambda: self._take(key, points, now))

    def end(self, key: RunKey, status: str, tags: Mapping[str, str], pictures: Sequence[Path] = ()) -> None:
        """Deliver what waits and close a run as FINISHED, FAILED or KILLED."""
        self._push_of(key, lambda: self._deliver(self._runs[key]))
        self._push_of(key, lambda: self._store.set_tags(self._runs[key].run_id, tags))
        self.add_files(key, pictures, Artifact.DETECTIONS)
        self._push_of(key, lambda: self._close(key, status))

    def tag(self, key: RunKey, tags: Mapping[str, str]) -> None:
        """Add to the tags of a run that was started or found; a closed one takes them too."""
        self._push(lambda: self._store.set_tags(self.run_id(key) or "", tags))

    def correct(self, key: RunKey, tags: Mapping[str, str]) -> None:
        """Replace tags of a run that an earlier command left, where they differ."""
        for run in self._found.get(key, ())[:1]:
            if any(run.tags.get(name) != value for name, value in tags.items()):
                self.tag(key, tags)

    def add_json(self, key: RunKey, values: Mapping[str, Any]) -> None:
        """Store plain values as JSON artifacts of a run, each under its file name; a closed run takes them too."""
        for name, value in values.items():
            self._push_artifact(key, partial(self._log_json, key, {name: value}))

    def add_files(self, key: RunKey, files: Sequence[Path], folder: str) -> None:
        """Store files as artifacts of a run; a closed run takes them too."""
        for file in files:
            self._push_artifact(key, partial(self._log_file, key, file, folder))

    def is_incomplete(self, key: RunKey) -> bool:
        """Whether an earlier command could not store all artifacts of this run."""
        return self.run_id(key) in self._incomplete

    def complete(self, key: RunKey) -> None:
        """Forget that an earlier command could not store all artifacts of a run; they were given anew."""
        self._push(lambda: self._forget_missing(key))

    def wait_open(self) -> None:
        """Wait for the store's first answer; it opens while other things start.

        Raises TrackingError where it can never be opened; where it only does not answer yet, if it is required.
        """
        self._delivery.wait_open()

    def is_finished(self, key: RunKey, tags: Mapping[str, str]) -> bool:
        """Return whether an earlier command left the run of this training FINISHED."""
        return any(run.status == "FINISHED" and run.belongs_to(tags) for run in self._found.get(key, ()))

    def run_id(self, key: RunKey) -> str | None:
        """The id of a run that was started or found."""
        if key in self._runs:
            return self._runs[key].run_id
        return self._found[key][0].run_id if self._found.get(key) else None

    @property
    def absence(self) -> TrackingError | None:
        """Why the store takes nothing now, None where it does."""
        return self._delivery.absence

    @property
    def artifact_problem(self) -> tuple[int, int, str] | None:
        """How many artifacts of how many runs are not in the store, and why; None where all are."""
        missing = self._artifacts.missing
        return (missing.total(), len(missing), self._artifacts.problem) if missing else None

    def settle(self, timeout: float) -> bool:
        """Wait until everything said so far is stored; False where the store did not take it in time."""
        done = threading.Event()
        self._push(self._flush)
        self._push(lambda: self._artifacts.retry(self._store))
        self._push(done.set)
        return done.wait(timeout)

    def close(self, timeout: float) -> bool:
        """Close runs that are still open as KILLED, the sweep's last; False if the store did not take everything."""
        self._push(lambda: self._artifacts.retry(self._store))
        self._push(self._kill_open)
        # Behind the ends of runs, which are pushed meanwhile.
        self._push(lambda: self._push(self._mark_missing))
        return self._delivery.close(timeout)

    def _push_of(self, key: RunKey, work: Callable[[], None]) -> None:
        """Work on a run, which is left out where the store refused the run itself."""
        self._push(lambda: work() if key in self._runs else None)

    def _push_artifact(self, key: RunKey, call: Callable[[], None]) -> None:
        self._push(lambda: self._artifacts.deliver(self._store, key, call) if self.run_id(key) else None)

    # From here on everything runs in the thread.

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
        """Leave a tag by which a later command finds the runs whose artifacts are missing."""
        for key, count in self._artifacts.missing.items():
            self._store.set_tags(self.run_id(key) or "", {Tag.ARTIFACTS_MISSING: str(count)})

    def _open_store(self, experiment: str, artifacts: Path | None) -> None:
        self._store = open_store(self.uri, experiment, artifacts)
        self._found = self._store.find_runs(self._sweep_key)
        known = [run for runs in self._found.values() for run in runs]
        self._incomplete = {run.run_id for run in known if Tag.ARTIFACTS_MISSING in run.tags}
        if self._required:
            check_artifacts(self._store)
        problem = self._store.artifact_problem()
        if problem is not None:
            self._artifacts.tell(problem)

    def _doubt(self) -> None:
        """Ask the store again for what it holds: a call may have been carried out although its answer was lost."""
        self._unsure = True
        for run in self._runs.values():
            run.seen = None

    def _open(self, key: RunKey, facts: RunFacts) -> None:
        if self._unsure:
            self._found = self._store.find_runs(self._sweep_key)
            self._unsure = False
        tags = self._tags(key, facts)
        known = self._found.get(key, [])
        mine = next((run for run in known if run.belongs_to(tags)), None)
        if mine is None:
            run_id = self._store.create(facts.name, tags)
            self._runs[key] = _Run(run_id, seen={})
        else:
            run_id = mine.run_id
            self._store.reopen(run_id, facts.name)
            self._runs[key] = _Run(run_id, seen=None)
        for other in known:
            if other.run_id != run_id:
                self._store.supersede(other, run_id)
        self._found[key] = [StoredRun(run_id, "RUNNING", tags)]
        if key == SWEEP:
            self._adopt(run_id)

    def _adopt(self, parent: str) -> None:
        """Make runs that lost the sweep's own run, or their kind, children of the one that is there now."""
        wanted = {Tag.PARENT_RUN: parent, Tag.KIND: RunKind.TRIAL}
        for runs in (runs for key, runs in self._found.items() if key != SWEEP):
            for run in runs:
                if any(run.tags.get(name) != value for name, value in wanted.items()):
                    self._store.set_tags(run.run_id, wanted)

    def _describe(self, key: RunKey, facts: RunFacts) -> None:
        tags = self._tags(key, facts)
        if facts.params:
            own, whose = self._runs[key].run_id, facts.trained_by
            tags[Tag.TRAINED_BY] = (whose if isinstance(whose, str) else self.run_id(whose or key)) or own
        self._store.set_tags(self._runs[key].run_id, tags)

    def _tags(self, key: RunKey, facts: RunFacts) -> dict[str, str]:
        tags = {**facts.tags, Tag.SWEEP_KEY: self._sweep_key}
        if key != SWEEP and SWEEP in self._runs:
            tags[Tag.PARENT_RUN] = self._runs[SWEEP].run_id
        return tags

    def _take(self, key: RunKey, points: Mapping[tuple[str, int], float], now: int) -> None:
        waiting = self._runs[key].waiting
        for (name, step), value in points.items():
            waiting[legal_name(name), step] = (float(value), now)

    def _flush(self) -> None:
        for run in self._runs.values():
            self._deliver(run)

    def _deliver(self, run: _Run) -> None:
        if not run.waiting:
            return
        if run.seen is None:
            run.seen = self._store.stored_points(run.run_id)
        # A step that another attempt repeated may have come out otherwise: what is written last counts.
        fresh = {
            point: (value, now)
            for point, (value, now) in run.waiting.items()
            if point not in run.seen or not is_same_value(run.seen[point], value)
        }
        run.waiting = fresh
        try:
            self._store.log_points(run.run_id, fresh)
        except Exception as error:
            if not is_passing(error):
                # Refused for good; the training's own folder still has them.
                run.waiting = {}
            raise
        run.seen.update({point: value for point, (value, _) in fresh.items()})
        run.waiting = {}

    def _close(self, key: RunKey, status: str) -> None:
        self._store.close(self._runs[key].run_id, status)
        self._runs[key].open = False

    def _kill_open(self) -> None:
        # Children first: the sweep's own run is the last that may say RUNNING.
        for key, run in sorted(self._runs.items(), key=lambda item: item[0] == SWEEP):
            if run.open:
                self.end(key, "KILLED", {Tag.STATUS: "interrupted"} if key == SWEEP else {})
