"""The MLflow client behind runs.py: opening a store, searching it, fetching files."""

import difflib
import logging
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


class StoreError(ValueError):
    """The tracking store does not hold what was asked for; the message names the uri and what is there."""


def connect(uri: str) -> "MlflowClient":
    """A client of an existing store.

    Raises StoreError where the store cannot be opened; a missing SQLite file is not created.
    """
    _require_file(uri)
    # MLflow reads these while it is imported; a reader has nothing to report and must not wait for minutes.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    except (MlflowException, OSError, ValueError) as error:
        raise StoreError(
            f"the tracking store {public_uri(uri)} cannot be read: {first_line(error)}"
        ) from error
    except Exception as error:
        # SQLAlchemy's errors come through MLflow unwrapped, and it is no dependency of ours.
        if not type(error).__module__.startswith("sqlalchemy"):
            raise
        raise StoreError(
            f"the tracking store {public_uri(uri)} cannot be read: {first_line(error)}"
        ) from error
    return client


def public_uri(uri: str) -> str:
    """The address of a store without user name and password."""
    parts = urlsplit(uri)
    return uri.replace(f"{parts.netloc.rpartition('@')[0]}@", "", 1) if "@" in parts.netloc else uri


def _require_file(uri: str) -> None:
    """MLflow would create a missing SQLite file, and an empty one would look like a store without sweeps."""
    if urlsplit(uri).scheme != "sqlite":
        return
    path = Path(uri.removeprefix("sqlite:///").split("?")[0])
    if not path.is_file() or path.stat().st_size == 0:
        raise StoreError(
            f"no tracking store at {public_uri(uri)} ({'empty' if path.is_file() else 'no such'} file); "
            "run a sweep first, or name its store with --tracking-uri"
        )


def first_line(error: BaseException) -> str:
    """The first line of an error's message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


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


def artifact(client: "MlflowClient", run_id: str, path: str) -> bytes | None:
    """The content of one artifact file of a run, or None where it cannot be fetched."""
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as folder:
        try:
            return Path(client.download_artifacts(run_id, path, folder)).read_bytes()
        except (MlflowException, OSError):
            return None


def read_artifact(uri: str, run_id: str, path: str) -> bytes | None:
    """The content of one artifact file of a run, or None where the run has none at that path."""
    client = connect(uri)
    return artifact(client, run_id, path)


def list_pictures(uri: str, run_id: str) -> list[str]:
    """Artifact paths of a run's sample detections, in order of name."""
    client = connect(uri)
    return sorted(
        entry.path
        for entry in client.list_artifacts(run_id, "detections")
        if not entry.is_dir and entry.path.lower().endswith(".png")
    )


def near(name: str, known: list[str]) -> str:
    """What a user may have meant, or else the first few names there are."""
    unique = list(dict.fromkeys(known))
    close = difflib.get_close_matches(name, unique, n=3, cutoff=0.5)
    return ("did you mean " + " or ".join(close) + "?") if close else ", ".join(unique[:8]) or "none"
