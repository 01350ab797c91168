"""The MLflow version of a tracking server, compared with the one here."""

from typing import TYPE_CHECKING, Any

from fcos.storage.store_conventions import public_uri
from orchestration.tracking.problems import TrackingError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

ROUTE = "/version"
# Older servers do not know the names of runs, by which a later command updates them.
LEAST_MAJOR = 2
MAX_CHARS = 40


def other_version(client: "MlflowClient", uri: str) -> str | None:
    """Return a note where a server's MLflow is of another minor version than the one here; databases have none.

    Raises TrackingError for a server that is too old to record runs.
    """
    from mlflow.version import VERSION

    stated = _server_version(client)
    numbers = None if stated is None else _numbers(stated)
    if numbers is None or numbers == _numbers(VERSION):
        return None
    named = f"tracking.uri={public_uri(uri)}: the server runs MLflow {stated}"
    if numbers[0] < LEAST_MAJOR:
        advice = f"run MLflow {VERSION} there, or give another tracking.uri"
        raise TrackingError(f"{named}, and must run MLflow {LEAST_MAJOR} or newer; {advice}", advice)
    return f"{named}, this command {VERSION}; where it refuses something, run the same version on both"


def _server_version(client: "MlflowClient") -> str | None:
    """Return the version that a server states; None for a database, and where none is stated."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.rest_utils import http_request

    store: Any = client._tracking_client.store
    if not hasattr(store, "get_host_creds"):
        return None
    try:
        answer = http_request(store.get_host_creds(), ROUTE, "GET", max_retries=0, raise_on_status=False)
    except MlflowException:
        return None
    # A proxy may answer with a page. Of so few bytes without a declared encoding, `text` would be a guess.
    stated = answer.content.decode(errors="replace").strip()
    return stated if answer.status_code == 200 and len(stated) < MAX_CHARS else None


def _numbers(version: str) -> tuple[int, int] | None:
    """Return major and minor number of a version; None for a text that is no version."""
    major, _, rest = version.partition(".")
    minor = rest.partition(".")[0]
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None
