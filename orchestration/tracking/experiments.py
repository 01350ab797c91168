"""The MLflow experiment of a store: found or made, and written to where a server has to accept it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fcos.storage.store_conventions import Tag

if TYPE_CHECKING:
    from mlflow.entities import Experiment
    from mlflow.tracking import MlflowClient

TAG_ROUTE = "/api/2.0/mlflow/experiments/set-experiment-tag"
# Seconds before each further attempt. Where several commands begin together, one of them makes the experiment and its
# first tag; a server with users refuses the others until it has recorded whose experiment it is.
PAUSES = (0.2, 0.5, 1.0, 2.0)
# Error codes of such a refusal, which is one for good where it stays.
REFUSALS = ("BAD_REQUEST", "PERMISSION_DENIED", "RESOURCE_ALREADY_EXISTS")

ResultT = TypeVar("ResultT")


def find_or_make(client: "MlflowClient", name: str, artifacts: Path | None) -> "Experiment":
    """Return the experiment of a name; make it where it does not exist, with its artifacts in `artifacts`.

    Raises MLflow's own errors.
    """
    return _repeated(lambda: client.get_experiment_by_name(name) or _make(client, name, artifacts))


def check_takes_writes(client: "MlflowClient", experiment_id: str) -> None:
    """Write a tag of an experiment; raises MLflow's own errors where the store accepts no writes."""
    # MLflow would not write a value that is stored already.
    _repeated(lambda: _set_tag(client, experiment_id, Tag.WRITE_CHECK, str(time.time_ns())))


def _repeated(call: Callable[[], ResultT]) -> ResultT:
    """Call, and call again after each of REFUSALS, as often as there are PAUSES."""
    from mlflow.exceptions import MlflowException

    for pause in PAUSES:
        try:
            return call()
        except MlflowException as error:
            if error.error_code not in REFUSALS:
                raise
        time.sleep(pause)
    return call()


def _make(client: "MlflowClient", name: str, artifacts: Path | None) -> "Experiment":
    from mlflow.exceptions import MlflowException

    location = None if artifacts is None else artifacts.as_uri()
    try:
        return client.get_experiment(client.create_experiment(name, artifact_location=location))
    except MlflowException:
        # Another process may have created it in the meantime.
        existing = client.get_experiment_by_name(name)
        if existing is None:
            raise
        return existing


def _set_tag(client: "MlflowClient", experiment_id: str, key: str, value: str) -> None:
    """Set a tag of an experiment; unlike MLflow's client, keep the message of a server's error, not only its code."""
    store: Any = client._tracking_client.store
    if not hasattr(store, "get_host_creds"):
        client.set_experiment_tag(experiment_id, key, value)
        return
    from mlflow.utils.rest_utils import http_request, verify_rest_response

    values = {"experiment_id": experiment_id, "key": key, "value": value}
    creds = store.get_host_creds()
    answer = http_request(creds, TAG_ROUTE, "POST", max_retries=0, raise_on_status=False, json=values)
    verify_rest_response(answer, TAG_ROUTE)
