"""Calls to MLflow that create and update runs in a tracking store."""

import logging
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fcos.config.parse import flatten
from fcos.published.records import PublishedPoint
from fcos.storage.sqlite_store.stored_runs import read_tags
from fcos.storage.store_conventions import (
    MAX_TAG_CHARS,
    Artifact,
    RunStatus,
    Tag,
    client_uri,
    param_text,
    public_uri,
    quiet_libraries,
    seed_of,
    sqlite_uri,
)
from orchestration.tracking.addresses import sqlite_file
from orchestration.tracking.artifacts import artifact_problem, link_artifact, local_folder
from orchestration.tracking.experiments import check_takes_writes, find_or_make
from orchestration.tracking.problems import TrackingError, store_errors
from orchestration.tracking.server_version import other_version
from orchestration.tracking.sqlite_store import check_sqlite, check_writable, make_sqlite, move_artifacts

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient
import hashlib
import re

_log = logging.getLogger(__name__)

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Through the server: addresses that it signs lead into its bucket, which is not reached from everywhere.
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
# Always 0: MLflow would send a call again whose answer was lost, and a run would be made twice. The tracker repeats
# calls itself, and looks before it does what the store has.
RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
METRICS_PER_CALL = 1000
# Folders of artifacts whose files are written whole, and never changed where they are.
LINKED = (Artifact.EVALUATION, Artifact.DETECTIONS)
PARAMS_PER_CALL = 100
# Tags that describe one attempt of a run; removed when the run is reopened.
ATTEMPT_TAGS = {Tag.FAILURE, Tag.STOPPED, Tag.REUSED_FROM, Tag.TRAINED_IN, Tag.ARTIFACTS_MISSING}
# Tags that identify the training and evaluation of a run; absent from runs of sweeps and of older versions.
IDENTIFYING_TAGS = (Tag.TRAIN_IDENTITY, Tag.IDENTITY, Tag.TRAINING_ID)
# (arm, seed); the sweep's own run has neither.
RunKey = tuple[str | None, int | None]
# (metric, step) -> (value, time in ms)
TimedPoints = Mapping[tuple[str, int], tuple[float, int]]


@dataclass(frozen=True)
class StoredRun:
    """A run that exists in the store."""

    run_id: str
    status: str
    tags: Mapping[str, str]

    def belongs_to(self, tags: Mapping[str, str]) -> bool:
        """Return whether this run is of the training and evaluation that these tags identify."""
        return all(self.tags.get(name, "") == tags.get(name, "") for name in IDENTIFYING_TAGS)


@dataclass(frozen=True)
class Store:
    """One MLflow experiment of a tracking store, for writing."""

    client: "MlflowClient"
    experiment_id: str
    uri: str
    # Artifact location of its runs.
    artifacts: str
    # What the server's version may cost; None where it is that of this command, or there is no server.
    version_note: str | None = None

    def check(self) -> None:
        """Raise StoreUnavailable or TrackingError where the store as a whole accepts no writes."""
        file = sqlite_file(self.uri)
        if file is not None:
            check_sqlite(file)
            check_writable(file)
            return
        with store_errors(self.uri):
            check_takes_writes(self.client, self.experiment_id)

    def artifact_problem(self) -> str | None:
        """Return why no artifact can be written; None where one can."""
        return artifact_problem(self.artifacts, self.uri)

    def check_artifacts(self) -> None:
        """Raise TrackingError where artifacts cannot be written."""
        problem = self.artifact_problem()
        if problem is not None:
            raise TrackingError(
                f"tracking.required=true: artifacts of {public_uri(self.uri)} cannot be stored: {problem}; make that "
                "location writable from here, or give another store"
            )

    def find_runs(self, sweep_key: str) -> dict[RunKey, list[StoredRun]]:
        """Return the current (not superseded) runs of a sweep by key, newest first.

        One whose seed cannot be read, as the tag was edited, is left out with a warning.
        """
        runs: dict[RunKey, list[StoredRun]] = {}
        for run in self._runs_of(sweep_key):
            seed = seed_of(run.tags)
            if Tag.SUPERSEDED in run.tags:
                continue
            if Tag.SEED in run.tags and seed is None:
                _warn_of_seed(run.run_id, run.tags[Tag.SEED])
                continue
            runs.setdefault((run.tags.get(Tag.ARM), seed), []).append(run)
        return runs

    def _runs_of(self, sweep_key: str) -> Iterator[StoredRun]:
        """Iterate over all runs of a sweep, newest first."""
        if (file := sqlite_file(self.uri)) is not None:
            for run_id, each in read_tags(file, Tag.SWEEP_KEY, [sweep_key]).items():
                if each.experiment_id == self.experiment_id:
                    yield StoredRun(run_id, each.status, each.tags)
            return
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment_id], f"tags.`{Tag.SWEEP_KEY}` = '{sweep_key}'", page_token=token
            )
            yield from (StoredRun(run.info.run_id, run.info.status, run.data.tags) for run in page)
            token = page.token
            if not token:
                return

    def supersede(self, run: StoredRun, run_id: str) -> None:
        """Mark a run as replaced by another, so that its metrics are no longer read."""
        self.set_tags(run.run_id, {Tag.SUPERSEDED: run_id})
        if run.status == RunStatus.RUNNING:
            self.close(run.run_id, RunStatus.KILLED)

    def delete_tag(self, run_id: str, tag: str) -> None:
        """Remove a tag where a run has it."""
        # A call whose answer was lost may have removed it.
        if tag in self.client.get_run(run_id).data.tags:
            self.client.delete_tag(run_id, tag)

    def create(self, name: str, tags: Mapping[str, str]) -> str:
        """Create a run with status RUNNING; return its id."""
        run_id: str = self.client.create_run(self.experiment_id, tags=dict(tags), run_name=name).info.run_id
        return run_id

    def reopen(self, run_id: str, name: str) -> None:
        """Set an earlier run to RUNNING; remove the tags of its last attempt (ATTEMPT_TAGS)."""
        self.client.update_run(run_id, status=RunStatus.RUNNING, name=name)
        for tag in ATTEMPT_TAGS & set(self.client.get_run(run_id).data.tags):
            self.client.delete_tag(run_id, tag)

    def close(self, run_id: str, status: str) -> None:
        """End a run as FINISHED, FAILED or KILLED."""
        self.client.set_terminated(run_id, status)

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set or replace tags."""
        from mlflow.entities import RunTag

        self.client.log_batch(run_id, tags=[RunTag(name, str(value)[:MAX_TAG_CHARS]) for name, value in tags.items()])

    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Store nested values as dotted params; params are immutable, so existing ones are skipped."""
        from mlflow.entities import Param

        known = self.client.get_run(run_id).data.params if params else {}
        fresh = [Param(key, param_text(value)) for key, value in flatten(params).items() if key not in known]
        for first in range(0, len(fresh), PARAMS_PER_CALL):
            self.client.log_batch(run_id, params=fresh[first : first + PARAMS_PER_CALL])

    def log_points(self, run_id: str, points: TimedPoints) -> None:
        """Store metric points; repeated points are not deduplicated."""
        from mlflow.entities import Metric

        metrics = [Metric(name, value, now, step) for (name, step), (value, now) in points.items()]
        for first in range(0, len(metrics), METRICS_PER_CALL):
            self.client.log_batch(run_id, metrics=metrics[first : first + METRICS_PER_CALL])

    def log_repeated_points(self, run_id: str, points: Sequence[PublishedPoint]) -> None:
        """Store points of which a step may have several."""
        from mlflow.entities import Metric

        metrics = [Metric(point.key, point.value, point.time, point.step) for point in points]
        for first in range(0, len(metrics), METRICS_PER_CALL):
            self.client.log_batch(run_id, metrics=metrics[first : first + METRICS_PER_CALL])

    def stored_points(self, run_id: str) -> dict[tuple[str, int], float]:
        """Return the newest value of each (metric, step) that a run has."""
        newest: dict[tuple[str, int], tuple[int, float]] = {}
        for name in self.client.get_run(run_id).data.metrics:
            for point in self.client.get_metric_history(run_id, name):
                key, value = (name, point.step), (point.timestamp, point.value)
                newest[key] = max(newest.get(key, value), value)
        return {key: value for key, (_, value) in newest.items()}

    def log_json(self, run_id: str, values: Mapping[str, Any]) -> None:
        """Store plain values as JSON artifacts; `values` maps file names to values."""
        for name, value in values.items():
            self.client.log_dict(run_id, value, name)

    def log_files(self, run_id: str, files: Sequence[Path], folder: str) -> None:
        """Store files as artifacts below a folder, "" for none; those of LINKED take no more space beside the store."""
        root = local_folder(self.artifacts) if folder in LINKED and sqlite_file(self.uri) else None
        for file in files:
            if root is None or not link_artifact(file, root / run_id / "artifacts" / folder):
                self.client.log_artifact(run_id, str(file), folder or None)


def is_same_value(stored: float, value: float) -> bool:
    """Return whether `stored` is how a store returns `value`; MLflow stores infinities as the largest float."""
    if math.isnan(value) or math.isnan(stored):
        return math.isnan(value) and math.isnan(stored)
    return stored == value or (math.isinf(value) and stored == math.copysign(sys.float_info.max, value))


def connect(uri: str) -> "MlflowClient":
    """Return an MLflow client with short timeouts, without retries of its own and without console output.

    Raises StoreUnavailable for a store that cannot be reached now, TrackingError for one that cannot be used.
    """
    _set_environment()
    _ensure_home()
    file = sqlite_file(uri)
    if file is not None and file.exists():
        check_sqlite(file)
    from mlflow.tracking import MlflowClient

    quiet_libraries()
    with store_errors(uri):
        if file is not None:
            make_sqlite(uri, file)
        return MlflowClient(tracking_uri=client_uri(uri))


def _set_environment() -> None:
    """Set ENVIRONMENT where the user has not, and RETRIES in any case."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    given = os.environ.get(RETRIES, "0")
    os.environ[RETRIES] = "0"
    if given != "0":
        text = "%s=%s has no effect: the command repeats calls itself, so that no run is made twice"
        _log.warning(text, RETRIES, given)


def _ensure_home() -> None:
    """Set HOME for a user without a home folder: MLflow looks it up at import."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = tempfile.gettempdir()


def open_store(uri: str, experiment: str, artifacts: Path | None) -> Store:
    """Open a store for writing; create its experiment where it does not exist, with its artifacts in `artifacts`.

    Where the experiment's artifact location is another folder, the store was moved or copied, and the location is
    corrected. Raises StoreUnavailable where the store accepts nothing now, TrackingError where it never will.
    """
    file = sqlite_file(uri)
    client = connect(uri)
    if file is not None:
        check_writable(file)
    with store_errors(uri):
        known = find_or_make(client, experiment, artifacts)
    if known.lifecycle_stage != "active":
        raise TrackingError(f"tracking.experiment={experiment}: was deleted in {public_uri(uri)}; give another")
    location = str(known.artifact_location)
    if file is not None and artifacts is not None:
        location = _relocate_artifacts(file, location, artifacts)
    if file is not None:
        return Store(client, known.experiment_id, uri, location)
    store = Store(client, known.experiment_id, uri, location, other_version(client, uri))
    if store.version_note is not None:
        logging.getLogger(__name__).warning("%s", store.version_note)
    store.check()
    return store


def previous_artifact_folder(location: str, artifacts: Path) -> Path | None:
    """Return the local artifact folder outside the output folder that a store refers to; None where there is none."""
    folder = local_folder(location)
    return None if folder is None or folder.is_relative_to(artifacts.parent) else folder


def _relocate_artifacts(file: Path, location: str, artifacts: Path) -> str:
    """Correct the artifact location of a moved store; return the location in use from now on.

    Raises TrackingError where the artifacts were not moved along.
    """
    old = previous_artifact_folder(location, artifacts)
    if old is None:
        return location
    if old.is_dir() and not artifacts.is_dir():
        raise TrackingError(
            f"output={file.parent}: the artifacts of its store lie in {old}; copy that folder to {artifacts}, or give "
            f"tracking.uri={public_uri(sqlite_uri(file))} to go on writing there"
        )
    with store_errors(sqlite_uri(file)):
        move_artifacts(file, location.rstrip("/"), artifacts.as_uri())
    _log.warning("the store was moved or copied: its artifacts are read and written in %s, not in %s", artifacts, old)
    return artifacts.as_uri()


def _warn_of_seed(run_id: str, text: str) -> None:
    _log.warning(
        "run %s: its tag %s=%.40s is no whole number, so that the run counts for nothing; correct the tag, or the "
        "sweep's command makes another run in its stead",
        run_id, Tag.SEED, text,
    )  # fmt: skip


_ILLEGAL = re.compile(r"[^\w\-. :/]")
_MAX_NAME_CHARS = 250


def legal_name(name: str) -> str:
    """Return a metric name that MLflow accepts: the name itself, or a sanitized one with digits of the name's hash.

    MLflow rejects other characters than letters and digits of any script, _ - . space : /, names over 250 characters,
    and names that are not plain paths (empty, `.` and `..` parts). Class names, which are arbitrary, become part of
    names.
    """
    parts = [_ILLEGAL.sub("_", part) for part in name.split("/")]
    parts = ["_" if part in {"", ".", ".."} else part for part in parts]
    clean = "/".join(parts)
    if clean == name and len(name) <= _MAX_NAME_CHARS:
        return name
    return f"{clean[: _MAX_NAME_CHARS - 7]}_{hashlib.sha256(name.encode()).hexdigest()[:6]}"
