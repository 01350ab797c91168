"""Reading a sweep of 1,000 runs and 20,000 points from MLflow: python benchmarks/tracking.py

Peer: `mlflow.search_runs`, then `get_metric_history` for each run and metric, as MLflow's documentation shows it. Both
read the same SQLite store, written first, and must find the same points. Prints seconds and their ratio.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag

from analysis.reader.runs import read_sweep

METRICS = {"train/loss": 15, "val/AP": 5}
Points = set[tuple[str, str, int, float]]


def write_store(uri: str, runs: int) -> None:
    """Write one sweep with a child run for each arm and seed, each with 20 points."""
    client = MlflowClient(uri)
    experiment = client.create_experiment("benchmark")
    sweep = {"fcos.kind": "sweep", "fcos.sweep": "benchmark"}
    parent = client.create_run(experiment, tags=sweep, run_name="benchmark").info.run_id
    client.log_text(parent, '{"name": "benchmark", "metrics": ["val/AP"], "arms": {}, "seeds": []}', "experiment.json")
    for number in range(runs):
        tags = {"fcos.kind": "trial", "fcos.arm": f"arm{number // 5}", "fcos.seed": str(number % 5)}
        run_id = client.create_run(experiment, tags={**tags, "mlflow.parentRunId": parent}).info.run_id
        points = [
            Metric(key, number + step / 100, 1_000_000 + step, step) for key, n in METRICS.items() for step in range(n)
        ]
        client.log_batch(run_id, metrics=points, tags=[RunTag("fcos.sweep", "benchmark")])
        client.set_terminated(run_id)
    client.set_terminated(parent)


def ours(uri: str) -> Points:
    """Read everything that a report reads."""
    points = read_sweep(uri, "benchmark").points
    return set(zip(points["run_id"], points["key"], points["step"], points["value"], strict=True))


def peer(uri: str) -> Points:
    """Read the same by MLflow's own client, a request for each run and metric."""
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    runs = mlflow.search_runs(search_all_experiments=True, filter_string="tags.`fcos.kind` = 'trial'")
    return {
        (run_id, key, point.step, point.value)
        for run_id in runs["run_id"]
        for key in METRICS
        for point in client.get_metric_history(run_id, key)
    }


def seconds_of(read: Callable[[str], Points], uri: str) -> tuple[float, Points]:
    """Return how long a reader takes, and what it reads."""
    began = time.perf_counter()
    found = read(uri)
    return time.perf_counter() - began, found


def main() -> None:
    """Write the store, read it in turns, and print the medians."""
    parser = argparse.ArgumentParser(description="Reading many runs, against one request for each run and metric.")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{Path(folder) / 'mlflow.db'}"
        began = time.perf_counter()
        write_store(uri, options.runs)
        points = options.runs * sum(METRICS.values())
        print(f"{options.runs} runs with {points} points written in {time.perf_counter() - began:.0f} s")
        times: list[tuple[float, float]] = []
        for _ in range(options.turns):
            theirs, expected = seconds_of(peer, uri)
            mine, found = seconds_of(ours, uri)
            if found != expected or len(found) != points:
                raise SystemExit(f"the points differ: {len(found)} and {len(expected)} of {points}")
            times.append((theirs, mine))
        slow, fast = (statistics.median(column) for column in zip(*times, strict=True))
        print(
            f"one request a run and metric {slow:.2f} s, analysis.reader.runs.read_sweep {fast:.2f} s: "
            f"{slow / fast:.1f} times"
        )


if __name__ == "__main__":
    main()
