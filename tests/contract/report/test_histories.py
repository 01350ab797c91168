"""Metric histories of many runs at once are those that the client gives run by run."""

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
from analysis.reader.metric_history import histories
from tests.helpers.ports import free_port
from tests.helpers.waiting import PATIENCE, wait_until

LONGEST = 7


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture(scope="module")
def run_ids(store: str) -> list[str]:
    """Runs with 0 to LONGEST points of `a`; one step was logged twice."""
    client = MlflowClient(store)
    experiment = client.create_experiment("histories")
    ids = []
    for length in range(LONGEST + 1):
        run_id = client.create_run(experiment).info.run_id
        points = [Metric("a", length + step / 10, 1000 + step, step) for step in range(length)]
        twice = [Metric("a", 99.0, 5000, 0)] if length else []
        client.log_batch(run_id, metrics=[*points, *twice, Metric("b", 1.0, 1, 1)])
        ids.append(run_id)
    return ids


def one_by_one(client: MlflowClient, run_ids: list[str], key: str) -> set[tuple[str, int, int, float]]:
    return {
        (run_id, point.step, point.timestamp, point.value)
        for run_id in run_ids
        for point in client.get_metric_history(run_id, key)
    }


def together(client: MlflowClient, run_ids: list[str], key: str) -> list[tuple[str, int, int, float]]:
    return [(point.run_id, point.step, point.written, point.value) for point in histories(client, run_ids, key)]


@pytest.mark.parametrize(("runs", "points"), [(100, 25_000), (3, 25_000), (100, 9), (100, 2)])
def test_nothing_is_missing_whatever_an_answer_holds(
    store: str, run_ids: list[str], monkeypatch: pytest.MonkeyPatch, runs: int, points: int
) -> None:
    monkeypatch.setattr(analysis.reader.metric_history, "MOST_RUNS", runs)
    monkeypatch.setattr(analysis.reader.metric_history, "MOST_POINTS", points)
    client = MlflowClient(store)
    for key in ("a", "b", "none"):
        found = together(client, run_ids, key)
        assert len(found) == len(set(found))
        assert set(found) == one_by_one(client, run_ids, key)


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
def test_a_server_answers_the_same(server: str, store: str, run_ids: list[str]) -> None:
    client = MlflowClient(server)
    assert set(together(client, run_ids, "a")) == one_by_one(MlflowClient(store), run_ids, "a")
