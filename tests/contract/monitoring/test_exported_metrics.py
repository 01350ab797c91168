"""Ray's agent exports the metrics of a sweep under the names of the dashboard."""

import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from orchestration.driver.monitoring.metrics import METRICS, SweepMetrics
from tests.helpers.processes.waiting import wait_until
from tests.helpers.status_folders import record, training


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[int]:
    """The port at which the agent of a Ray of its own exports metrics."""
    monkeypatch.setenv("HOME", str(tmp_path))
    # The values of the last one to three intervals, instead of the last half minute.
    ray.init(
        num_cpus=1, include_dashboard=False, log_to_driver=False, _system_config={"metrics_report_interval_ms": 1000}
    )
    try:
        (node,) = ray.nodes()
        yield int(node["MetricsExportPort"])
    finally:
        ray.shutdown()


def exported(port: int) -> dict[str, str]:
    """The lines of our metrics by name and labels, without labels of Ray's own."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as response:
        text = response.read().decode()
    found = {}
    for name, labels, value in re.findall(r"(?m)^(ray_fcos_\w+)\{([^}]*)\} (\S+)$", text):
        kept = [part for part in re.findall(r'(\w+)="([^"]*)"', labels) if part[0] in ("sweep", "state", "kind")]
        found[" ".join([name, *(f"{key}={word}" for key, word in sorted(kept))])] = value
    return found


@pytest.mark.slow(minutes=1)
def test_every_metric_is_exported_with_its_labels(port: int) -> None:
    budget = ({"name": "gpu_hours", "limit": 8.0, "spent": 2.5},)
    running = training(0, state="running", steps_per_second=2.5)
    kept = record(running, training(1, state="failed"), budget=budget, retries=2, failures={"Stalled": 3})
    metrics = SweepMetrics("shapes")
    lines: dict[str, str] = {}

    def complete() -> bool:
        # Gauges are forgotten unless they are set again and again, as a driver does.
        metrics.update(kept)
        lines.update(exported(port))
        return {line.split()[0] for line in lines} >= {each.exported for each in METRICS}

    wait_until(complete)
    assert float(lines["ray_fcos_trainings state=running sweep=shapes"]) == 1
    assert float(lines["ray_fcos_trainings state=waiting sweep=shapes"]) == 0
    assert float(lines["ray_fcos_steps_per_second sweep=shapes"]) == 2.5
    assert float(lines["ray_fcos_hours_spent kind=gpu sweep=shapes"]) == 2.5
    assert float(lines["ray_fcos_failures_total kind=Stalled sweep=shapes"]) == 3
    assert float(lines["ray_fcos_retries_total sweep=shapes"]) == 2
