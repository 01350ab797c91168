"""Writing to MLflow: what is asked of a store, call by call."""

import json
import logging
import math
import os
import re
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from fcos.parsing import flatten
from fcos.section import ConfigError

if TYPE_CHECKING:
    from mlflow.entities import Experiment
    from mlflow.tracking import MlflowClient

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # The tracker tries again itself, from its buffer; MLflow's own patience would be minutes a call.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
METRICS_PER_CALL = 1000
PARAMS_PER_CALL = 100
LONGEST_TAG = 5000
# As long as one waits for another process that fills the SQLite file.
FILLING_SECONDS = 120
# Tags of a run's last attempt, which the next one may not have.
PASSING_TAGS = {"fcos.failure", "fcos.stopped", "fcos.reused_from", "fcos.trained_in"}
# Tags by which a run belongs to one training and evaluation; absent from runs of sweeps and of older versions.
IDENTIFYING_TAGS = ("fcos.train_identity", "fcos.identity", "fcos.training_id")
# The run that took over from this one, as its training is another now, or was done anew.
SUPERSEDED = "fcos.superseded_by"
# Answers of a store that would be the same if it were asked again.
PERMANENT = {
    "BAD_REQUEST",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "PERMISSION_DENIED",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
}

# (arm, seed); the sweep's own run has neither.
RunKey = tuple[str | None, int | None]
# (metric, step) -> (value, time in ms)
TimedPoints = Mapping[tuple[str, int], tuple[float, int]]


class TrackingError(ConfigError):
    """The tracking store cannot be used; the message names its address and the reason."""


class StoreAway(TrackingError):
    """The tracking store does not answer now, and may later."""


@dataclass(frozen=True)
class StoredRun:
    """A run that the store has already."""

    run_id: str
    status: str
    tags: Mapping[str, str]

    def belongs_to(self, tags: Mapping[str, str]) -> bool:
        """Whether this run is of the training, and of its evaluation, that these tags identify."""
        return all(self.tags.get(name, "") == tags.get(name, "") for name in IDENTIFYING_TAGS)


@dataclass(frozen=True)
class Store:
    """One MLflow experiment."""

    client: "MlflowClient"
    experiment_id: str

    def find_runs(self, sweep_key: str) -> dict[RunKey, list[StoredRun]]:
        """Return the runs of a sweep that earlier commands left and none superseded, of each key the newest first."""
        found: dict[RunKey, list[StoredRun]] = {}
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment_id], f"tags.`fcos.sweep_key` = '{sweep_key}'", page_token=token
            )
            for run in page:
                tags = run.data.tags
                seed = tags.get("fcos.seed")
                key = (tags.get("fcos.arm"), None if seed is None else int(seed))
                if SUPERSEDED not in tags:
                    found.setdefault(key, []).append(StoredRun(run.info.run_id, run.info.status, tags))
            token = page.token
            if not token:
                return found

    def supersede(self, run: StoredRun, run_id: str) -> None:
        """Mark a run as replaced by another; nothing reads its numbers any more."""
        self.set_tags(run.run_id, {SUPERSEDED: run_id})
        if run.status == "RUNNING":
            self.close(run.run_id, "KILLED")

    def create(self, name: str, tags: Mapping[str, str]) -> str:
        """A new run, RUNNING; returns its id."""
        run_id: str = self.client.create_run(self.experiment_id, tags=dict(tags), run_name=name).info.run_id
        return run_id

    def reopen(self, run_id: str, name: str) -> None:
        """An earlier run, RUNNING again; how it ended and whose result it took is forgotten."""
        self.client.update_run(run_id, status="RUNNING", name=name)
        for tag in PASSING_TAGS & set(self.client.get_run(run_id).data.tags):
            self.client.delete_tag(run_id, tag)

    def close(self, run_id: str, status: str) -> None:
        """End a run as FINISHED, FAILED or KILLED."""
        self.client.set_terminated(run_id, status)

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set or replace tags."""
        from mlflow.entities import RunTag

        self.client.log_batch(run_id, tags=[RunTag(name, str(value)[:LONGEST_TAG]) for name, value in tags.items()])

    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Nested values as dotted params; a param never changes, so what a run has already stays."""
        from mlflow.entities import Param

        known = self.client.get_run(run_id).data.params if params else {}
        fresh = [Param(key, param_text(value)) for key, value in flatten(params).items() if key not in known]
        for first in range(0, len(fresh), PARAMS_PER_CALL):
            self.client.log_batch(run_id, params=fresh[first : first + PARAMS_PER_CALL])

    def log_points(self, run_id: str, points: TimedPoints) -> None:
        """Store points; the same point twice would be stored twice."""
        from mlflow.entities import Metric

        metrics = [Metric(name, value, now, step) for (name, step), (value, now) in points.items()]
        for first in range(0, len(metrics), METRICS_PER_CALL):
            self.client.log_batch(run_id, metrics=metrics[first : first + METRICS_PER_CALL])

    def stored_points(self, run_id: str) -> dict[tuple[str, int], float]:
        """Return the newest value of each (metric, step) that a run has."""
        found: dict[tuple[str, int], tuple[int, float]] = {}
        for name in self.client.get_run(run_id).data.metrics:
            for point in self.client.get_metric_history(run_id, name):
                key, value = (name, point.step), (point.timestamp, point.value)
                found[key] = max(found.get(key, value), value)
        return {key: value for key, (_, value) in found.items()}

    def log_json(self, run_id: str, values: Mapping[str, Any]) -> None:
        """File name -> plain value, stored as JSON artifacts."""
        for name, value in values.items():
            self.client.log_dict(run_id, value, name)

    def log_files(self, run_id: str, files: Sequence[Path], folder: str) -> None:
        """Store files as artifacts below a folder."""
        for file in files:
            self.client.log_artifact(run_id, str(file), folder)


def param_text(value: Any) -> str:
    """A config value as MLflow keeps it: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def is_same_value(stored: float, value: float) -> bool:
    """Whether a store gives back `value` as `stored`; MLflow keeps infinities as the largest float."""
    if math.isnan(value) or math.isnan(stored):
        return math.isnan(value) and math.isnan(stored)
    return stored == value or (math.isinf(value) and stored == math.copysign(sys.float_info.max, value))


def is_passing(error: Exception) -> bool:
    """Whether a store that raised this may answer otherwise when it is asked again."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return error.error_code not in PERMANENT
    # A connection that broke, a disk that is full; SQLAlchemy's own errors come through MLflow unwrapped.
    return isinstance(error, (OSError, StoreAway)) or type(error).__module__.startswith("sqlalchemy")


def public_uri(uri: str) -> str:
    """The address of a store without user name, password and settings: what may be shown."""
    scheme, mark, rest = uri.partition("://")
    rest = rest.partition("?")[0]
    host, slash, path = rest.partition("/")
    if "@" in path and "@" not in host and not re.fullmatch(r"[^:]*(:\d*)?|\[.*\](:\d*)?", host):
        # What looks like the host is a user and half a password, which holds a slash.
        return f"{scheme}{mark}{rest.rpartition('@')[2]}"
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}" if mark else uri


def connect(uri: str) -> "MlflowClient":
    """A client with little patience and nothing to say."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    path = Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:") else None
    if path:
        _check_sqlite(uri, path)
    from mlflow.tracking import MlflowClient

    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    if path:
        _make_sqlite(path)
    return MlflowClient(tracking_uri=uri)


@contextmanager
def asking(uri: str) -> Iterator[None]:
    """Turn what a store raises into StoreAway or TrackingError, with its address and no password."""
    try:
        yield
    except TrackingError:
        raise
    except Exception as error:
        kind = StoreAway if is_passing(error) else TrackingError
        reason = _cause(error).replace(uri, public_uri(uri))
        raise kind(f"tracking.uri={public_uri(uri)}: the store cannot be reached: {reason}") from None


def open_store(uri: str, experiment: str, artifacts: Path | None) -> Store:
    """Open a store; its experiment is made where it does not exist, with `artifacts` as its folder for files.

    Raises StoreAway where it does not answer, TrackingError where it never will.
    """
    with asking(uri):
        client = connect(uri)
        known = client.get_experiment_by_name(experiment) or _make_experiment(client, experiment, artifacts)
    if known.lifecycle_stage != "active":
        raise TrackingError(f"tracking.experiment={experiment}: was deleted in {public_uri(uri)}; give another")
    return Store(client, known.experiment_id)


def _make_experiment(client: "MlflowClient", name: str, artifacts: Path | None) -> "Experiment":
    from mlflow.exceptions import MlflowException

    location = None if artifacts is None else artifacts.as_uri()
    try:
        return client.get_experiment(client.create_experiment(name, artifact_location=location))
    except MlflowException:
        # Another sweep may have been first, since it was looked for.
        made = client.get_experiment_by_name(name)
        if made is None:
            raise
        return made


def _cause(error: Exception) -> str:
    """The reason at the end of MLflow's tale of retries, such as `[Errno 111] Connection refused`."""
    first = str(error).splitlines()[0]
    found = re.search(r"Caused by \w+\((.*)\)", first)
    return found.group(1).rsplit(": ", 1)[-1].strip("\"')") if found else first


def _check_sqlite(uri: str, path: Path) -> None:
    """MLflow would try a file that cannot be opened for minutes."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA schema_version")
    except (sqlite3.Error, OSError) as error:
        kind = StoreAway if "locked" in str(error) else TrackingError
        raise kind(f"tracking.uri={uri}: the SQLite file cannot be used: {error}") from None


def _make_sqlite(path: Path) -> None:
    """Fill a file that holds nothing yet, once and in one piece.

    MLflow takes some seconds and a hundred steps for its tables. Two that do so at once, or one that is killed
    meanwhile, would leave a file that nobody can open.
    """
    if path.stat().st_size:
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with FileLock(f"{path}.lock", timeout=FILLING_SECONDS):
        if path.stat().st_size:
            return
        new = path.with_name(f"{path.name}.new")
        # Of one that was killed.
        new.unlink(missing_ok=True)
        SqlAlchemyStore(f"sqlite:///{new}", (path.parent / "mlruns").as_uri()).engine.dispose()
        new.replace(path)
