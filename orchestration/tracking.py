"""The only MLflow writer: one thread in the driver, so that a slow or absent store holds up no training."""

import json
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fcos.config import ConfigError
from orchestration.experiment import flatten
from orchestration.metric_names import legal_name

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # We retry ourselves, from a buffer; MLflow's own patience would be minutes a call.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
FLUSH_SECONDS = 2.0
RETRY_SECONDS = 5.0
METRICS_PER_CALL = 1000
PARAMS_PER_CALL = 100

# (arm, seed); the sweep's own run has no arm.
RunKey = tuple[str | None, int | None]
SWEEP: RunKey = (None, None)


class TrackingError(ConfigError):
    """The tracking store cannot be used; the message names its address and the reason."""


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run before it starts."""

    name: str
    tags: Mapping[str, str]
    # Logged as dotted params.
    params: Mapping[str, Any] = field(default_factory=dict)
    # File name -> plain value, stored as JSON.
    files: Mapping[str, Any] = field(default_factory=dict)
    # Whose training it shares; None is its own.
    trained_by: RunKey | None = None


@dataclass
class _Run:
    run_id: str
    # What the store is known to hold, None where that has to be asked.
    seen: set[tuple[str, int]] | None
    waiting: dict[tuple[str, int], tuple[float, int]] = field(default_factory=dict)
    open: bool = True


def default_uri(output: Path) -> str:
    """The SQLite store in the output folder."""
    return f"sqlite:///{output / 'mlflow.db'}"


class Tracker:
    """Runs of one sweep, found or created by tags; points are idempotent by (run, key, step)."""

    def __init__(self, uri: str | None, experiment: str, output: Path, sweep_key: str) -> None:
        self.uri = uri or default_uri(output)
        self._experiment = experiment
        self._artifacts = None if uri else output / "mlartifacts"
        self._sweep_key = sweep_key
        self._client: MlflowClient
        self._experiment_id = ""
        self._found: dict[RunKey, tuple[str, str]] = {}
        self._opened = threading.Event()
        self._refusal: Exception | None = None
        self._runs: dict[RunKey, _Run] = {}
        self._work: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._deadline: float | None = None
        self._warned = False
        self._thread = threading.Thread(target=self._loop, name="tracking", daemon=True)
        self._thread.start()

    # -- what the driver says; none of it waits ------------------------------------------------------------

    def start(self, key: RunKey, facts: RunFacts) -> None:
        """Find or create a run and mark it RUNNING."""
        self._push(lambda: self._start(key, facts))

    def add(self, key: RunKey, points: Mapping[tuple[str, int], float]) -> None:
        """Take points of a run that was started."""
        now = int(time.time() * 1000)
        self._push(lambda: self._take(key, points, now))

    def end(self, key: RunKey, status: str, tags: Mapping[str, str], pictures: Sequence[Path] = ()) -> None:
        """Deliver what waits and close a run as FINISHED, FAILED or KILLED."""
        self._push(lambda: self._end(key, status, tags, pictures))

    def add_files(self, key: RunKey, files: Sequence[Path], folder: str) -> None:
        """Store files as artifacts of a run; a closed run takes them too."""
        self._push(lambda: self._add_files(key, files, folder))

    # -- what may wait -------------------------------------------------------------------------------------

    def wait_open(self) -> None:
        """Wait for the store, which opens while other things start.

        Raises TrackingError where it cannot be opened.
        """
        self._opened.wait()
        if self._refusal is not None:
            raise self._refusal

    def is_finished(self, key: RunKey) -> bool:
        """Whether an earlier command left this run FINISHED."""
        return key in self._found and self._found[key][1] == "FINISHED"

    def run_id(self, key: RunKey) -> str | None:
        """The id of a run that was started or found."""
        if key in self._runs:
            return self._runs[key].run_id
        return self._found[key][0] if key in self._found else None

    def settle(self, timeout: float) -> bool:
        """Wait until everything said so far is stored; False where the store did not take it in time."""
        done = threading.Event()
        self._push(self._flush)
        self._push(done.set)
        return done.wait(timeout)

    def close(self, timeout: float) -> bool:
        """Close runs that are still open as KILLED, the sweep's last; False if the store is out of reach."""
        self._push(self._kill_open)
        with self._changed:
            self._deadline = time.monotonic() + timeout
            self._changed.notify()
        self._thread.join(timeout + 15)
        return not self._work or self._refusal is not None

    # -- the thread ----------------------------------------------------------------------------------------

    def _push(self, work: Callable[[], None]) -> None:
        with self._changed:
            self._work.append(work)
            self._changed.notify()

    def _open(self) -> None:
        try:
            self._client, self._experiment_id = _open_store(self.uri, self._experiment, self._artifacts)
            self._found = self._find_runs()
        except Exception as error:  # told to whoever waits
            self._refusal = error
        finally:
            self._opened.set()

    def _loop(self) -> None:
        self._open()
        if self._refusal is not None:
            return
        flushed = time.monotonic()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._work or self._deadline, timeout=FLUSH_SECONDS)
                work = self._work[0] if self._work else None
                if work is None and self._deadline is not None:
                    return
            if work is not None and self._attempt(work):
                self._work.popleft()
            elif work is not None and self._gave_up():
                return
            if time.monotonic() - flushed > FLUSH_SECONDS:
                self._attempt(self._flush)
                flushed = time.monotonic()

    def _attempt(self, work: Callable[[], None]) -> bool:
        """Do it; a store that refuses is asked again later, and only the first refusal is told."""
        try:
            work()
        except Exception as error:  # whatever the store raises, a training must not end because of it
            if not self._warned:
                reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                logging.getLogger(__name__).warning(
                    "tracking store %s: %s; training goes on, what is not stored yet is kept",
                    self.uri,
                    reason,
                )
            self._warned = True
            for run in self._runs.values():
                run.seen = None
            with self._changed:
                remaining = RETRY_SECONDS if self._deadline is None else self._deadline - time.monotonic()
                self._changed.wait_for(lambda: False, timeout=max(0.0, min(RETRY_SECONDS, remaining)))
            return False
        self._warned = False
        return True

    def _gave_up(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline

    def _find_runs(self) -> dict[RunKey, tuple[str, str]]:
        """Runs of this sweep that earlier commands left: key -> (run id, status)."""
        found: dict[RunKey, tuple[str, str]] = {}
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id], f"tags.`fcos.sweep_key` = '{self._sweep_key}'", page_token=token
            )
            for run in page:
                tags = run.data.tags
                seed = tags.get("fcos.seed")
                key = (tags.get("fcos.arm"), None if seed is None else int(seed))
                found[key] = (run.info.run_id, run.info.status)
            token = page.token
            if not token:
                return found

    def _start(self, key: RunKey, facts: RunFacts) -> None:
        tags = {**facts.tags, "fcos.sweep_key": self._sweep_key}
        if key != SWEEP and SWEEP in self._runs:
            tags["mlflow.parentRunId"] = self._runs[SWEEP].run_id
        if key in self._runs:
            run_id = self._runs[key].run_id
        elif key in self._found:
            run_id = self._found[key][0]
            self._client.update_run(run_id, status="RUNNING", name=facts.name)
            if "fcos.failure" in self._client.get_run(run_id).data.tags:
                self._client.delete_tag(run_id, "fcos.failure")
        else:
            run_id = self._client.create_run(self._experiment_id, tags=tags, run_name=facts.name).info.run_id
        # From here on a repeated attempt finds the run instead of making a second one.
        self._runs[key] = _Run(run_id, seen=None if key in self._found else set())
        if facts.params:
            trainer = self.run_id(facts.trained_by) if facts.trained_by else run_id
            tags["fcos.trained_by"] = trainer or run_id
        self._set_tags(run_id, tags)
        self._log_params(run_id, facts.params)
        for name, value in facts.files.items():
            self._client.log_dict(run_id, value, name)

    def _set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        self._client.log_batch(run_id, tags=[RunTag(name, str(value)[:5000]) for name, value in tags.items()])

    def _log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        flat = [Param(key, param_text(value)) for key, value in flatten(params).items()]
        for first in range(0, len(flat), PARAMS_PER_CALL):
            self._client.log_batch(run_id, params=flat[first : first + PARAMS_PER_CALL])

    def _take(self, key: RunKey, points: Mapping[tuple[str, int], float], now: int) -> None:
        waiting = self._runs[key].waiting
        for (name, step), value in points.items():
            waiting.setdefault((legal_name(name), step), (float(value), now))

    def _flush(self) -> None:
        for run in self._runs.values():
            self._deliver(run)

    def _deliver(self, run: _Run) -> None:
        from mlflow.entities import Metric

        if not run.waiting:
            return
        if run.seen is None:
            run.seen = self._stored_points(run.run_id)
        fresh = {point: value for point, value in run.waiting.items() if point not in run.seen}
        metrics = [Metric(name, value, now, step) for (name, step), (value, now) in fresh.items()]
        for first in range(0, len(metrics), METRICS_PER_CALL):
            self._client.log_batch(run.run_id, metrics=metrics[first : first + METRICS_PER_CALL])
        run.seen.update(fresh)
        run.waiting.clear()

    def _stored_points(self, run_id: str) -> set[tuple[str, int]]:
        names = self._client.get_run(run_id).data.metrics
        return {
            (name, point.step) for name in names for point in self._client.get_metric_history(run_id, name)
        }

    def _end(self, key: RunKey, status: str, tags: Mapping[str, str], pictures: Sequence[Path]) -> None:
        run = self._runs[key]
        self._deliver(run)
        self._set_tags(run.run_id, tags)
        self._add_files(key, pictures, "detections")
        self._client.set_terminated(run.run_id, status)
        run.open = False

    def _add_files(self, key: RunKey, files: Sequence[Path], folder: str) -> None:
        run_id = self.run_id(key)
        for file in files:
            self._client.log_artifact(run_id, str(file), folder)

    def _kill_open(self) -> None:
        # Children first: the sweep's own run is the last that may say RUNNING.
        for key, run in sorted(self._runs.items(), key=lambda item: item[0] == SWEEP):
            if run.open:
                self._deliver(run)
                if key == SWEEP:
                    self._set_tags(run.run_id, {"fcos.status": "interrupted"})
                self._client.set_terminated(run.run_id, "KILLED")
                run.open = False


def param_text(value: Any) -> str:
    """A config value as MLflow keeps it: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _open_store(uri: str, experiment: str, artifacts: Path | None) -> "tuple[MlflowClient, str]":
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if uri.startswith("sqlite:"):
        _check_sqlite(uri)
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        client = MlflowClient(tracking_uri=uri)
        known = client.get_experiment_by_name(experiment)
        if known is None:
            location = None if artifacts is None else artifacts.as_uri()
            return client, client.create_experiment(experiment, artifact_location=location)
    except (MlflowException, OSError) as error:
        first = str(error).splitlines()[0]
        raise TrackingError(f"tracking.uri={uri}: the store cannot be reached: {first}") from None
    if known.lifecycle_stage != "active":
        raise TrackingError(f"tracking.experiment={experiment}: was deleted in {uri}; give another")
    return client, known.experiment_id


def _check_sqlite(uri: str) -> None:
    """MLflow would try a file that cannot be opened for minutes."""
    path = Path(uri.removeprefix("sqlite:///"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA schema_version")
    except (sqlite3.Error, OSError) as error:
        raise TrackingError(f"tracking.uri={uri}: the SQLite file cannot be used: {error}") from None
