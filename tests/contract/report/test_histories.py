"""Metric histories read in bulk equal those that the client returns run by run."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

import analysis.reader.metric_history
from analysis.reader.metric_history import read_histories
from tests.helpers.processes.ports import free_port
from tests.helpers.processes.waiting import PATIENCE, wait_until

MAX_LENGTH = 7


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture(scope="module")
def run_ids(store: str) -> list[str]:
    """Runs with 0 to MAX_LENGTH points of `a`; one step was logged twice."""
    client = MlflowClient(store)
    experiment = client.create_experiment("histories")
    ids = []
    for length in range(MAX_LENGTH + 1):
        run_id = client.create_run(experiment).info.run_id
        points = [Metric("a", length + step / 10, 1000 + step, step) for step in range(length)]
        twice = [Metric("a", 99.0, 5000, 0)] if length else []
        client.log_batch(run_id, metrics=[*points, *twice, Metric("b", 1.0, 1, 1)])
        ids.append(run_id)
    return ids


def read_one_by_one(client: MlflowClient, run_ids: list[str], key: str) -> set[tuple[str, int, int, float]]:
    return {
        (run_id, point.step, point.timestamp, point.value)
        for run_id in run_ids
        for point in client.get_metric_history(run_id, key)
    }


def read_together(client: MlflowClient, run_ids: list[str], key: str) -> list[tuple[str, int, int, float]]:
    return [(point.run_id, point.step, point.timestamp, point.value) for point in read_histories(client, run_ids, key)]


@pytest.mark.parametrize(("max_runs", "max_points"), [(100, 25_000), (3, 25_000), (100, 9), (100, 2)])
def test_no_point_is_missing_whatever_fits_in_one_response(
    store: str, run_ids: list[str], monkeypatch: pytest.MonkeyPatch, max_runs: int, max_points: int
) -> None:
    monkeypatch.setattr(analysis.reader.metric_history, "MAX_RUNS", max_runs)
    monkeypatch.setattr(analysis.reader.metric_history, "MAX_POINTS", max_points)
    # As of a database that is no file.
    monkeypatch.setattr(analysis.reader.metric_history, "find_sqlite_file", lambda _: None)
    client = MlflowClient(store)
    for key in ("a", "b", "none"):
        points_read = read_together(client, run_ids, key)
        assert len(points_read) == len(set(points_read))
        assert set(points_read) == read_one_by_one(client, run_ids, key)


def test_an_sqlite_file_has_the_same_points(store: str, run_ids: list[str]) -> None:
    client = MlflowClient(store)
    for key in ("a", "b", "none"):
        assert set(read_together(client, run_ids, key)) == read_one_by_one(client, run_ids, key)


@pytest.fixture
def server(store: str, tmp_path: Path) -> Iterator[str]:
    """A server in front of the same store."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1", "--artifacts-destination", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0)
    try:
        _wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(PATIENCE)


def _wait_for(port: int) -> None:
    def answers() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    wait_until(answers)


@pytest.mark.slow
def test_a_server_returns_the_same_points(server: str, store: str, run_ids: list[str]) -> None:
    client = MlflowClient(server)
    assert set(read_together(client, run_ids, "a")) == read_one_by_one(MlflowClient(store), run_ids, "a")
