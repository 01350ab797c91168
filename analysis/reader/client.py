"""The MLflow client behind runs.py: opening a store, searching it, fetching files."""

import difflib
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from orchestration.store_conventions import client_uri, is_sqlite, public_uri, quiet_libraries

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


class StoreError(ValueError):
    """The tracking store does not hold what was asked for; the message names the uri and what is there."""


def connect(uri: str) -> "MlflowClient":
    """A client of an existing store.

    Raises StoreError where the store cannot be opened; a missing SQLite file is not created.
    """
    _require_sqlite(uri)
    # MLflow reads these while it is imported; a reader has nothing to report and must not wait for minutes.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient

    # After the import, which sets levels of its own; what goes wrong is told once, by StoreError.
    quiet_libraries()
    with reading(uri):
        client = MlflowClient(tracking_uri=client_uri(uri))
        client.search_experiments(max_results=1)
    return client


def sqlite_file(uri: str) -> Path | None:
    """The file of an SQLite address, None for another store; raises StoreError for an address that names none."""
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
def reading(uri: str) -> Iterator[None]:
    """Turn what goes wrong in a store, at any time, into a StoreError with its address and no password."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        # SQLAlchemy's errors come through MLflow unwrapped, and it is no dependency of ours.
        known = isinstance(error, (MlflowException, OSError, ValueError))
        if not known and not type(error).__module__.startswith("sqlalchemy"):
            raise
        if "out-of-date database schema" in str(error):
            advice = f"copy it and run `mlflow db upgrade {public_uri(uri)}`, or use the MLflow that made it"
            raise StoreError(
                f"the tracking store {public_uri(uri)} was made by another MLflow version; {advice}"
            ) from error
        reason = first_line(error).replace(uri, public_uri(uri))
        raise StoreError(f"the tracking store {public_uri(uri)} cannot be read: {reason}") from error


def _require_sqlite(uri: str) -> None:
    """Refuse a file that is no store: MLflow would create it, or write its tables into it."""
    path = sqlite_file(uri)
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
    if not {"experiments", "runs", "tags", "metrics"} <= tables:
        raise StoreError(f"no tracking store at {uri} (the file holds no MLflow tables); {advice}")


def first_line(error: BaseException) -> str:
    """The line of an error that says why: the driver's where SQLAlchemy quotes it, else the first."""
    lines = str(error).strip().splitlines()
    driver = next((match[1] for line in lines if (match := re.search(r"\(\w+(?:\.\w+)+\) (.+)", line))), None)
    return driver or (lines[0] if lines else type(error).__name__)


def experiment_ids(client: "MlflowClient", name: str | None) -> list[str]:
    """The ids of all MLflow experiments, or of the one with a name; raises StoreError where there is none."""
    experiments = list(client.search_experiments(max_results=1000))
    if name is None:
        return [item.experiment_id for item in experiments]
    ids = [item.experiment_id for item in experiments if item.name == name]
    if not ids:
        known = [item.name for item in experiments]
        raise StoreError(f"no MLflow experiment {name!r} in the store; there: {near(name, known)}")
    return ids


def search_runs(client: "MlflowClient", ids: list[str], filter_string: str) -> "list[Run]":
    """Every run that a filter lets through, page by page."""
    if not ids:
        return []
    runs: list[Run] = []
    token: str | None = None
    while True:
        page = client.search_runs(ids, filter_string, max_results=1000, page_token=token)
        runs.extend(page)
        token = page.token
        if not token:
            return runs


def read_artifact(uri: str, run_id: str, path: str) -> bytes | None:
    """The content of one artifact file of a run, or None where it cannot be fetched."""
    from mlflow.exceptions import MlflowException

    client = connect(uri)
    with tempfile.TemporaryDirectory() as folder:
        try:
            moved = moved_artifacts(uri, client.get_run(run_id))
            if moved is not None:
                return (moved / path).read_bytes()
            return Path(client.download_artifacts(run_id, path, folder)).read_bytes()
        except (MlflowException, OSError):
            return None


def moved_artifacts(uri: str, run: "Run") -> Path | None:
    """A run's folder of artifacts beside its SQLite store, where the recorded one is not there; None where it is."""
    file, old = sqlite_file(uri), recorded_folder(run)
    if file is None or old is None or old.exists():
        return None
    place = file.parent / "mlartifacts"
    beside = place / str(run.info.run_id) / "artifacts"
    # An id from the store may not lead elsewhere.
    return beside if beside.is_dir() and beside.resolve().is_relative_to(place.resolve()) else None


def recorded_folder(run: "Run") -> Path | None:
    """The folder on this machine that a run's artifacts are recorded in, None for a place elsewhere."""
    from mlflow.utils.file_utils import local_file_uri_to_path

    recorded = str(run.info.artifact_uri)
    return Path(local_file_uri_to_path(recorded)) if urlsplit(recorded).scheme in ("", "file") else None


def list_pictures(uri: str, run_id: str) -> list[str]:
    """Artifact paths of a run's sample detections, in order of name; empty where they cannot be listed."""
    from mlflow.exceptions import MlflowException

    client = connect(uri)
    try:
        moved = moved_artifacts(uri, client.get_run(run_id))
        if moved is not None:
            return sorted(file.relative_to(moved).as_posix() for file in (moved / "detections").glob("*.png"))
        entries = client.list_artifacts(run_id, "detections")
    except (MlflowException, OSError):
        return []
    return sorted(entry.path for entry in entries if not entry.is_dir and entry.path.lower().endswith(".png"))


def near(name: str, known: list[str]) -> str:
    """What a user may have meant, or else the first few names there are."""
    unique = list(dict.fromkeys(known))
    close = difflib.get_close_matches(name, unique, n=3, cutoff=0.5)
    return ("did you mean " + " or ".join(close) + "?") if close else ", ".join(unique[:8]) or "none"
