"""Metric histories of many runs: from an SQLite file, or in few requests by a bulk route that MLflow's client lacks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.reader.client import find_sqlite_file
from fcos.storage.sqlite_store.stored_runs import read_points

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from analysis.reader.run_store import RunStore

# A server refuses more runs in one request, and truncates its response at this many points without notice.
MAX_RUNS, MAX_POINTS = 100, 25_000
ROUTE = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"


@dataclass(frozen=True)
class MetricPoint:
    """One logged value. timestamp: milliseconds since 1970."""

    run_id: str
    step: int
    timestamp: int
    value: float


def read_histories(client: "RunStore", run_ids: Sequence[str], metric: str) -> Iterator[MetricPoint]:
    """Yield every point of a metric in runs that logged it, run by run; raises MLflow's own errors."""
    from mlflow import MlflowClient

    if not isinstance(client, MlflowClient):
        # An archive has no bulk route.
        for run_id in run_ids:
            yield from _read_run(client, run_id, metric)
        return
    if (file := find_sqlite_file(client)) is not None:
        points = read_points(file, run_ids, metric)
        yield from (MetricPoint(point.run_id, point.step, point.milliseconds, point.value) for point in points)
        return
    for start in range(0, len(run_ids), MAX_RUNS):
        yield from _read_batch(client, run_ids[start : start + MAX_RUNS], metric)


def _read_run(client: "RunStore", run_id: str, metric: str) -> list[MetricPoint]:
    points = client.get_metric_history(run_id, metric)
    return [MetricPoint(run_id, point.step, point.timestamp, point.value) for point in points]


def _read_batch(client: "MlflowClient", run_ids: Sequence[str], metric: str) -> list[MetricPoint]:
    """Return the points of at most MAX_RUNS runs; halves the batch where one response cannot hold them."""
    if len(run_ids) == 1:
        return _read_run(client, run_ids[0], metric)
    points = _read_bulk(client, run_ids, metric)
    if len(points) < MAX_POINTS:
        return points
    middle = len(run_ids) // 2
    return _read_batch(client, run_ids[:middle], metric) + _read_batch(client, run_ids[middle:], metric)


def _read_bulk(client: "MlflowClient", run_ids: Sequence[str], metric: str) -> list[MetricPoint]:
    store: Any = client._tracking_client.store
    if hasattr(store, "get_metric_history_bulk"):
        records = [point.to_dict() for point in store.get_metric_history_bulk(run_ids, metric, MAX_POINTS)]
    else:
        records = _request_bulk(store, run_ids, metric)
    return [
        MetricPoint(record["run_id"], int(record["step"]), int(record["timestamp"]), float(record["value"]))
        for record in records
    ]


def _request_bulk(store: Any, run_ids: Sequence[str], metric: str) -> list[dict[str, Any]]:
    """Request the bulk route, which the comparison plots of MLflow's own pages use."""
    from mlflow.utils.rest_utils import http_request, verify_rest_response

    response = http_request(
        host_creds=store.get_host_creds(),
        endpoint=ROUTE,
        method="GET",
        params={"run_id": list(run_ids), "metric_key": metric, "max_results": MAX_POINTS},
    )
    records: list[dict[str, Any]] = verify_rest_response(response, ROUTE).json()["metrics"]
    return records
