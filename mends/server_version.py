"""The MLflow version of a tracking server, beside the one here."""

import logging
from typing import TYPE_CHECKING, Any

from fcos.storage.store_conventions import public_uri

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

ROUTE = "/version"
_log = logging.getLogger(__name__)


def warn_of_other_version(client: "MlflowClient", uri: str) -> None:
    """Log a warning where a server's MLflow is of another minor version than the one here; databases have none."""
    from mlflow.version import VERSION

    other = _server_version(client)
    if other is not None and _minor(other) != _minor(VERSION):
        _log.warning(
            "tracking.uri=%s: the server runs MLflow %s, this command %s; if it refuses something, use one version on both",
            public_uri(uri), other, VERSION,
        )  # fmt: skip


def _server_version(client: "MlflowClient") -> str | None:
    """Return the version that a server states, None for a database, and where no version is stated."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.rest_utils import http_request

    store: Any = client._tracking_client.store
    if not hasattr(store, "get_host_creds"):
        return None
    try:
        answer = http_request(store.get_host_creds(), ROUTE, "GET", max_retries=0, raise_on_status=False)
    except MlflowException:
        return None
    text = answer.text.strip()
    # A proxy may answer with a page.
    return text if answer.status_code == 200 and text[:1].isdigit() and len(text) < 40 else None


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]
