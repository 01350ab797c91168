"""All values that many runs logged of a metric, in few requests: MLflow's bulk reading, which its client hides."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

# A server refuses more runs in one request, and cuts its answer off at this many points without saying so.
MOST_RUNS, MOST_POINTS = 100, 25_000
ROUTE = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"


@dataclass(frozen=True)
class Point:
    """One logged value; written is a time in milliseconds since 1970."""

    run_id: str
    step: int
    written: int
    value: float


def histories(client: "MlflowClient", run_ids: Sequence[str], key: str) -> Iterator[Point]:
    """Every point of a metric in runs that logged it, run by run.

    Raises what MLflow raises where the store fails.
    """
    for start in range(0, len(run_ids), MOST_RUNS):
        yield from _whole(client, run_ids[start : start + MOST_RUNS], key)


def _whole(client: "MlflowClient", run_ids: Sequence[str], key: str) -> list[Point]:
    """The points of a few runs, asked for in halves where one answer would not hold them."""
    if len(run_ids) == 1:
        return [
            Point(run_ids[0], point.step, point.timestamp, point.value)
            for point in client.get_metric_history(run_ids[0], key)
        ]
    found = _bulk(client, run_ids, key)
    if len(found) < MOST_POINTS:
        return found
    middle = len(run_ids) // 2
    return _whole(client, run_ids[:middle], key) + _whole(client, run_ids[middle:], key)


def _bulk(client: "MlflowClient", run_ids: Sequence[str], key: str) -> list[Point]:
    store: Any = client._tracking_client.store
    if hasattr(store, "get_metric_history_bulk"):
        found = [point.to_dict() for point in store.get_metric_history_bulk(run_ids, key, MOST_POINTS)]
    else:
        found = _request(store, run_ids, key)
    return [Point(each["run_id"], int(each["step"]), int(each["timestamp"]), float(each["value"])) for each in found]


def _request(store: Any, run_ids: Sequence[str], key: str) -> list[dict[str, Any]]:
    """The route behind the comparison plots of MLflow's own pages."""
    from mlflow.utils.rest_utils import http_request, verify_rest_response

    answer = http_request(
        host_creds=store.get_host_creds(),
        endpoint=ROUTE,
        method="GET",
        params={"run_id": list(run_ids), "metric_key": key, "max_results": MOST_POINTS},
    )
    points: list[dict[str, Any]] = verify_rest_response(answer, ROUTE).json()["metrics"]
    return points
