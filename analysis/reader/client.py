"""Access to an MLflow store: open it, search its runs, fetch their artifacts."""

import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from analysis.reader.published import is_published, open_published
from fcos.errors import suggest
from fcos.storage.sqlite_store.stored_runs import StoredRun, read_artifact_uris, read_runs
from fcos.storage.store_conventions import Artifact, client_uri, is_sqlite, public_uri, quiet_libraries

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from analysis.reader.run_store import RunStore

# Set before MLflow is imported, which reads them then: no telemetry, no minutes of retries, and artifacts through the
# server, where MLflow's own choice is addresses into its bucket, which is not reached from everywhere.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
}
MLFLOW_TABLES = {"experiments", "runs", "tags", "metrics"}


class StoreError(ValueError):
    """The tracking store lacks what was requested; the message names its address and what it holds instead."""


def import_client() -> "type[MlflowClient]":
    """Import MLflow without telemetry and log output, which takes seconds; return its client."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    # After the import, which sets log levels of its own: errors are reported once, by StoreError.
    quiet_libraries()
    return MlflowClient


def connect(uri: str) -> "RunStore":
    """Return a client of an existing store, or of an extracted archive (see analysis.reader.published).

    Raises StoreError where the store cannot be opened; a missing SQLite file is not created.
    """
    _require_sqlite(uri)
    client_type = import_client()
    if is_published(uri):
        return open_published(uri)
    with raise_store_errors(uri):
        client = client_type(tracking_uri=client_uri(uri))
        client.search_experiments(max_results=1)
    return client


def check_address(uri: str) -> None:
    """Raise StoreError for the address of an extracted archive, which only commands that checked it may open."""
    if is_published(uri):
        raise StoreError(f"--tracking-uri {uri}: is no tracking store; an archive is read by analysis/verify.py FILE")


def parse_sqlite_path(uri: str) -> Path | None:
    """Return the file of an SQLite address, None for another store.

    Raises StoreError for an SQLite address that names no file.
    """
    if not is_sqlite(uri):
        return None
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        database = make_url(uri).database
    except ArgumentError:
        database = None
    if not database or database == ":memory:":
        advice = "give sqlite:///relative.db or sqlite:////absolute/path.db"
        raise StoreError(f"the tracking store {uri} names no SQLite file; {advice}")
    return Path(database).absolute()


@contextmanager
def raise_store_errors(uri: str) -> Iterator[None]:
    """Raise errors of a store as StoreError, with its address and without its password."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        # SQLAlchemy's errors come through MLflow unwrapped, and SQLAlchemy is not a direct dependency.
        known = isinstance(error, (MlflowException, OSError, ValueError, sqlite3.Error))
        if not known and not type(error).__module__.startswith("sqlalchemy"):
            raise
        if "out-of-date database schema" in str(error):
            advice = f"copy it and run `mlflow db upgrade {public_uri(uri)}`, or use the MLflow that made it"
            raise StoreError(
                f"the tracking store {public_uri(uri)} was made by another MLflow version; {advice}"
            ) from error
        reason = extract_reason(error).replace(uri, public_uri(uri))
        raise StoreError(f"the tracking store {public_uri(uri)} cannot be read: {reason}") from error


def _require_sqlite(uri: str) -> None:
    """Raise StoreError for a file that is no MLflow store: MLflow would create it, or add its tables to it."""
    path = parse_sqlite_path(uri)
    if path is None:
        return
    advice = "run a sweep first, or name its store with --tracking-uri"
    if not path.is_file():
        raise StoreError(f"no tracking store at {uri} (no such file); {advice}")
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error as error:
        raise StoreError(f"the tracking store {uri} cannot be read: {error}") from error
    if not tables >= MLFLOW_TABLES:
        raise StoreError(f"no tracking store at {uri} (the file holds no MLflow tables); {advice}")


def extract_reason(error: BaseException) -> str:
    """Return the line of an error that gives the reason: the driver's where SQLAlchemy quotes it, else the first."""
    lines = str(error).strip().splitlines()
    driver = next((match[1] for line in lines if (match := re.search(r"\(\w+(?:\.\w+)+\) (.+)", line))), None)
    return driver or (lines[0] if lines else type(error).__name__)


def find_experiment_ids(client: "RunStore", name: str | None) -> list[str]:
    """Return the ids of all MLflow experiments, or of the one with a name; raises StoreError where there is none."""
    experiments = list(client.search_experiments(max_results=1000))
    if name is None:
        return [item.experiment_id for item in experiments]
    ids = [item.experiment_id for item in experiments if item.name == name]
    if not ids:
        known = [item.name for item in experiments]
        raise StoreError(f"no MLflow experiment {name!r} in the store; there: {suggest_names(name, known)}")
    return ids


def search_runs(client: "RunStore", experiment_ids: list[str], tags: Mapping[str, str]) -> "list[Run]":
    """Return every run of some experiments that has the given values in all of some tags, newest first."""
    if not experiment_ids:
        return []
    if (file := find_sqlite_file(client)) is not None:
        return [_make_run(run) for run in read_runs(file, tags, experiment_ids)]
    filter_string = " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in tags.items())
    runs: list[Run] = []
    token: str | None = None
    while True:
        page = client.search_runs(experiment_ids, filter_string, max_results=1000, page_token=token)
        runs.extend(page)
        token = page.token
        if not token:
            return runs


def find_sqlite_file(client: "RunStore") -> Path | None:
    """Return the SQLite file of a client of MLflow; None for another store, and for an archive."""
    from mlflow import MlflowClient

    return parse_sqlite_path(client.tracking_uri) if isinstance(client, MlflowClient) else None


def _make_run(run: StoredRun) -> "Run":
    """Return a run as MLflow's client does."""
    from mlflow.entities import Metric, Param, Run, RunData, RunInfo, RunTag

    start, end = cast(int, run.start), cast(int, run.end)  # each may be None, as MLflow's own are
    info = RunInfo(run.run_id, run.experiment_id, "", run.status, start, end, "active", run.artifact_uri, run.name)
    data = RunData(
        [Metric(key, value, 0, 0) for key, value in run.metrics.items()],
        [Param(key, value) for key, value in run.params.items()],
        [RunTag(key, value) for key, value in run.tags.items()],
    )
    return Run(info, data)


def read_artifact(uri: str, run_id: str, path: str, max_bytes: int | None = None) -> bytes | None:
    """Return the content of an artifact file of a run, None where it cannot be fetched or has over `max_bytes`."""
    from mlflow.exceptions import MlflowException

    try:
        folder = find_artifact_folder(uri, run_id)
        if folder is not None:
            return _read_file(folder / path, max_bytes)
        with tempfile.TemporaryDirectory() as temporary:
            return _read_file(Path(connect(uri).download_artifacts(run_id, path, temporary)), max_bytes)
    except (MlflowException, OSError):
        return None


def _read_file(file: Path, max_bytes: int | None) -> bytes | None:
    return None if max_bytes is not None and file.stat().st_size > max_bytes else file.read_bytes()


def fetch_artifact(uri: str, run_id: str, path: str) -> bytes | None:
    """Return the content of an artifact file of a run, None where the run has no such file.

    Raises StoreError where it cannot be fetched, or cannot be looked for.
    """
    if path not in list_artifacts(uri, run_id, str(PurePosixPath(path).parent)):
        return None
    content = read_artifact(uri, run_id, path)
    if content is None:
        raise StoreError(f"{path} of run {run_id} is in the store and cannot be fetched")
    return content


def list_artifacts(uri: str, run_id: str, folder: str) -> list[str]:
    """Return the artifact paths of the files in a folder of a run, "." for its files outside of any, by name.

    Raises StoreError where they cannot be listed.
    """
    with raise_store_errors(uri):
        own = find_artifact_folder(uri, run_id)
    try:
        if own is not None:
            files = [file for file in (own / folder).iterdir() if file.is_file()] if (own / folder).is_dir() else []
            return sorted(file.relative_to(own).as_posix() for file in files)
        entries = connect(uri).list_artifacts(run_id, None if folder == "." else folder)
        return sorted(entry.path for entry in entries if not entry.is_dir)
    except Exception as error:  # the clients of artifact stores raise errors of any type
        reason = extract_reason(error).replace(uri, public_uri(uri))
        raise StoreError(f"the artifacts of run {run_id} cannot be listed: {reason}") from error


def find_artifact_folder(uri: str, run_id: str) -> Path | None:
    """Return the local folder with a run's artifacts, as an SQLite store records it or beside it where it was moved.

    None for another store, for artifacts elsewhere and for a folder that does not exist: MLflow's client finds them, or
    reports that it does not. Raises StoreError for a store that cannot be read.
    """
    file = parse_sqlite_path(uri)
    if file is None:
        return None
    with raise_store_errors(uri):
        stat = file.stat()
        recorded = _read_artifact_uris(file, stat.st_ino, stat.st_mtime_ns, stat.st_size).get(run_id)
    folder = None if recorded is None else parse_artifact_folder(recorded)
    if folder is None or folder.is_dir():
        return folder
    return find_moved_artifacts(uri, run_id, folder)


@lru_cache(maxsize=2)
def _read_artifact_uris(file: Path, *version: int) -> dict[str, str]:
    """Return where runs have their artifacts, by run id; read once for each version of the file."""
    return read_artifact_uris(file)


def find_moved_artifacts(uri: str, run_id: str, recorded: Path) -> Path | None:
    """Return a run's folder of artifacts beside its SQLite store, None where the recorded folder exists."""
    file = parse_sqlite_path(uri)
    if file is None or recorded.exists():
        return None
    root = file.parent / "mlartifacts"
    folder = root / run_id / "artifacts"
    # The id comes from the store: it must not lead out of the folder.
    return folder if folder.is_dir() and folder.resolve().is_relative_to(root.resolve()) else None


def parse_artifact_folder(recorded: str) -> Path | None:
    """Return the local folder that a run records for its artifacts, None where they are remote."""
    from mlflow.utils.file_utils import local_file_uri_to_path

    return Path(local_file_uri_to_path(recorded)) if urlsplit(recorded).scheme in ("", "file") else None


def list_pictures(uri: str, run_id: str) -> list[str]:
    """Return the artifact paths of a run's sample detections by name; raises StoreError where they cannot be listed."""
    return [path for path in list_artifacts(uri, run_id, Artifact.DETECTIONS) if path.lower().endswith(".png")]


def suggest_names(name: str, known: list[str]) -> str:
    """Return "did you mean ...?" with near matches, or else the first few known names."""
    unique = list(dict.fromkeys(known))
    return suggest(name, unique) or ", ".join(unique[:8]) or "none"


def describe_store(uri: str) -> str:
    """Return the address of a store as a report shows it."""
    return "a published archive" if is_published(uri) else public_uri(uri)
