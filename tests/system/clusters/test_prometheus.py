"""A real Prometheus scrapes a cluster by our configuration, and the dashboard's queries find a sweep there."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import pytest
import yaml

from orchestration.driver.monitoring.metrics import METRICS
from tests.helpers.experiments.sweeps import ROOT, SHARED, SWEEP, end_group, wait_for
from tests.helpers.processes.clusters import Cluster, cluster
from tests.helpers.processes.ports import free_port
from tests.helpers.servers.start import responds, start_server

DEPLOY = ROOT / "orchestration" / "deploy"
# Where Ray lists its nodes for Prometheus, below the folder of its own files.
LISTED = "prom_metrics_service_discovery.json"
# What a cluster without GPUs, and a sweep in which nothing failed, have no series of.
ABSENT = ("ray_node_gpus_utilization", "ray_node_gram_used", "ray_fcos_failures_total", "ray_fcos_retries_total")
WORDS = (
    *SHARED,
    "schedule.steps=5000",
    "schedule.eval_every=5000",
    "schedule.log_every=10",
    "schedule.checkpoint_every=500",
    "budget.cpu_hours=1",
)


def queries() -> list[str]:
    """The queries of the dashboard, for any sweep, that have an answer while one trains."""
    dashboard = json.loads((DEPLOY / "grafana_dashboard.json").read_text())
    every = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [each.replace("$sweep", ".*") for each in every if not any(name in each for name in ABSENT)]


@pytest.fixture
def nodes() -> Iterator[Cluster]:
    if shutil.which("prometheus") is None:
        pytest.skip("needs Prometheus (Debian's package prometheus)")
    with cluster(token=True) as made:
        yield made


@pytest.fixture
def address(nodes: Cluster, tmp_path: Path) -> Iterator[str]:
    """A Prometheus with our configuration, but for the folder of the cluster and a shorter interval."""
    config = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())
    (job,) = config["scrape_configs"]
    (discovery,) = job["file_sd_configs"]
    assert discovery["files"] == [f"/tmp/ray/{LISTED}"]
    discovery["files"] = [str(nodes.folder / "ray" / LISTED)]
    config["global"]["scrape_interval"] = "1s"
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config))
    address = f"http://127.0.0.1:{free_port()}"
    command = [
        "prometheus",
        f"--config.file={tmp_path / 'prometheus.yaml'}",
        f"--web.listen-address={address.removeprefix('http://')}",
        f"--storage.tsdb.path={tmp_path / 'series'}",
    ]
    server = start_server(command, tmp_path / "prometheus.log", lambda: responds(f"{address}/-/ready"))
    try:
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def answer(address: str, query: str) -> list[Any]:
    """Return the series that a query finds now."""
    with urlopen(f"{address}/api/v1/query?query={quote(query)}", timeout=60) as response:
        result: list[Any] = json.load(response)["data"]["result"]
    return result


@pytest.mark.slow(minutes=2)
def test_every_panel_of_the_dashboard_shows_a_sweep_that_trains(nodes: Cluster, address: str, tmp_path: Path) -> None:
    expected, found = queries(), dict[str, list[Any]]()
    assert len(expected) >= len(METRICS)
    command = [*("python", str(SWEEP)), *WORDS, f"cluster.address={nodes.address}"]
    with (tmp_path / "sweep.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=nodes.environment, stdout=log, stderr=log, text=True, start_new_session=True
        )

    def all_answered() -> bool:
        # No more often than Prometheus scrapes.
        time.sleep(1)
        found.update({query: answer(address, query) for query in expected if not found.get(query)})
        return all(found.values())

    try:
        wait_for(all_answered, process)
    finally:
        end_group(process)
    missing = [query for query in expected if not found.get(query)]
    assert missing == [], (tmp_path / "sweep.log").read_text()
    states = answer(address, 'ray_fcos_trainings{state="running"}')
    assert [each["metric"]["sweep"] for each in states] == ["ablation_centerness"]
