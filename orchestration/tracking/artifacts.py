"""Artifact locations of a store, links into them, and the check that files can be written there."""

import re
import tempfile
from contextlib import suppress
from pathlib import Path

from fcos.storage.files import link_file
from fcos.storage.store_conventions import client_uri
from orchestration.tracking.addresses import without_secrets
from orchestration.tracking.problems import error_reason
from orchestration.tracking.sqlite_store import check_folder

WRITE_CHECK = "fcos_write_check.txt"


def local_folder(location: str) -> Path | None:
    """Return the folder of a local artifact location; None for a remote one."""
    from mlflow.utils.file_utils import local_file_uri_to_path

    if re.match(r"[a-z][a-z0-9+.-]+:", location, re.IGNORECASE) and not location.startswith("file:"):
        return None
    return Path(local_file_uri_to_path(location)).absolute()


def link_artifact(file: Path, folder: Path) -> bool:
    """Put a file into a folder of artifacts without another copy of its content; return False where that cannot be.

    For files that are only ever replaced whole: the artifact then stays as it was.
    """
    if file.is_symlink():
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return link_file(file, folder / file.name)


def artifact_problem(location: str, uri: str) -> str | None:
    """Return why no file can be written to an artifact location; None where one can.

    The file that is written for the check is deleted again.
    """
    try:
        folder = local_folder(location)
        if folder is None:
            _check_remote(location, uri)
            return None
    except Exception as error:  # the clients of artifact stores raise errors of any type
        return f"{location}: {without_secrets(error_reason(error), uri)}"
    try:
        check_folder(folder)
    except OSError as error:
        return f"{folder} cannot be written ({error.strerror or error})"
    return None


def _check_remote(location: str, uri: str) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(location, tracking_uri=client_uri(uri))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / WRITE_CHECK
        file.write_text("written to see whether artifacts can be\n")
        repository.log_artifact(str(file))
    # Permission to write does not always include permission to delete.
    with suppress(Exception):
        repository.delete_artifacts(WRITE_CHECK)
