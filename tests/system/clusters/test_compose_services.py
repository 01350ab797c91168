"""What compose.yaml starts, as processes on loopback with its own commands, and the documented sweep through them.

uv run --group database pytest -m slow tests/system/clusters/test_compose_services.py
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from mlflow.tracking import MlflowClient

from fcos.installation import ROOT
from tests.helpers.experiments.sweeps import SHARED, runs
from tests.helpers.processes.ports import free_port
from tests.helpers.processes.ray_nodes import ray_folder
from tests.helpers.processes.waiting import PATIENCE, wait_until
from tests.helpers.servers.postgres import Database, database, needs_database
from tests.helpers.servers.start import start_server

__all__ = ["ray_folder"]

pytestmark = pytest.mark.slow(minutes=3)

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
NAME = "ablation_centerness"
# With one network for all, addresses that containers have by themselves must be given.
ON_LOOPBACK = ("--node-ip-address=127.0.0.1", "--object-store-memory=100000000")
# What a node prints once it is one.
STARTED = "Ray runtime started"


@dataclass
class Services:
    """Services of compose.yaml; `folder` holds their volumes, each service has a port of its own."""

    folder: Path
    database_port: int
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in ("bucket", "mlflow", "head")})
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def translate(self, text: str, service: str) -> str:
        """Return a text of the file as it is meant here: volumes as folders, hosts as ports of loopback."""
        for volume in SERVICES.get(service, {}).get("volumes", []):
            name, target = volume.split(":")[:2]
            text = text.replace(target, str(self.folder / name))
        replaced = {
            "$$": "$",
            "/tmp/ray/": f"{os.environ['RAY_TMPDIR']}/ray/",
            "0.0.0.0": "127.0.0.1",
            "@database/": f"@127.0.0.1:{self.database_port}/",
            "1000:1000": f"{os.geteuid()}:{os.getegid()}",
            "--port=6379": f"--port={self.ports['head']}",
            "head:6379": f"127.0.0.1:{self.ports['head']}",
            "bucket:5000": f"127.0.0.1:{self.ports['bucket']}",
            "mlflow:5000": f"127.0.0.1:{self.ports['mlflow']}",
        }
        for before, after in replaced.items():
            text = text.replace(before, after)
        # What is left is a service's own port.
        return re.sub(r"\b5000\b", str(self.ports.get(service, 5000)), text)

    def command(self, service: str, words: list[str]) -> list[str]:
        found = [self.translate(word, service) for word in words]
        extra = ON_LOOPBACK if found[:2] == ["ray", "start"] else ()
        return [*(sys.executable if word == "python" else word for word in found[:1]), *found[1:], *extra]

    def environment(self, service: str) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "PYTEST_", "AWS_"))}
        own = {key: self.translate(value, service) for key, value in SERVICES[service].get("environment", {}).items()}
        # Ray joins no head at a local address else.
        joins = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1", "XDG_CACHE_HOME": str(self.folder / "cache")}
        return {**kept, **joins, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **own}

    def run(self, service: str, words: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
        """Run a command as in a service's container, until it ends."""
        return subprocess.run(
            self.command(service, words), cwd=folder, env=self.environment(service),
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip

    def run_to_its_end(self, service: str) -> None:
        done = self.run(service, SERVICES[service]["command"], self.folder)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self, service: str) -> None:
        """Start a service and wait until its check succeeds, a node of Ray until it has joined."""
        check = SERVICES[service].get("healthcheck", {}).get("test", ["CMD", "true"])
        command = self.command(service, SERVICES[service]["command"])
        log = self.folder / f"{service}-{len(self.processes)}.log"
        process = start_server(
            command, log,
            lambda: self.run(service, check[1:], self.folder).returncode == 0,
            env=self.environment(service),
        )  # fmt: skip
        self.processes.append(process)
        if command[:2] != ["ray", "start"]:
            return
        # Here all nodes share the file by which a container knows that it has joined.
        wait_until(lambda: STARTED in log.read_text() or process.poll() is not None)
        if process.poll() is not None:
            # Ray gives itself half a minute, too little where tests run beside; compose starts it again.
            assert "timed out during startup" in log.read_text(), log.read_text()
            assert SERVICES[service]["restart"] == "unless-stopped"
            self.start(service)

    def close(self) -> None:
        for process in reversed(self.processes):
            if process.poll() is None:
                for each in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
                    each.kill()
                process.wait()


@pytest.fixture
def made() -> Iterator[Database]:
    needs_database()
    with database() as found:
        yield found


@pytest.fixture
def services(made: Database, tmp_path: Path, ray_folder: None) -> Iterator[Services]:
    """All services, in the order in which they wait for each other."""
    for volume in ("ray-keys", "database-keys"):
        (tmp_path / volume).mkdir()
    found = Services(tmp_path, made.port)
    try:
        found.run_to_its_end("keys")
        # What the image of PostgreSQL does with POSTGRES_USER, POSTGRES_DB and the file.
        password = (tmp_path / "database-keys" / "password").read_text()
        made.query(f"CREATE ROLE mlflow LOGIN PASSWORD '{password}'")
        made.query("CREATE DATABASE mlflow OWNER mlflow")
        found.start("bucket")
        found.run_to_its_end("make-bucket")
        for service in ("mlflow", "head", *["worker"] * SERVICES["worker"]["deploy"]["replicas"], "lab"):
            found.start(service)
        cpus = float(SERVICES["worker"]["deploy"]["replicas"])
        wait_until(lambda: f"/{cpus} CPU" in found.run("lab", ["ray", "status"], tmp_path).stdout)
        yield found
    finally:
        found.close()


def documented() -> list[str]:
    """The words of the sweep of docs/clusters.md, from `python` on."""
    text = (ROOT / "docs" / "clusters.md").read_text()
    (line,) = re.findall(r"docker compose exec lab (python (?:.|\\\n)*?[^\\])\n", text)
    return shlex.split(line.replace("\\\n", " "))


def test_the_documented_sweep_runs_through_all_services(services: Services, tmp_path: Path) -> None:
    work = tmp_path / "lab"
    work.mkdir()
    python, entry, *words = documented()
    done = services.run("lab", [python, str(ROOT / entry), *words, *SHARED[1:]], work)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    store = MlflowClient(services.translate("http://mlflow:5000", "lab"))
    found = runs(Path(), NAME, store)
    assert len(found) == 3 and {run.info.status for run in found.values()} == {"FINISHED"}
    # Results, and artifacts of the server, are in the bucket alone.
    listed = services.run(
        "lab",
        ["python", "-c", "import s3fs; print(*s3fs.S3FileSystem().find('fcos-lab'), sep='\\n')"],
        work,
    ).stdout.splitlines()
    assert [name for name in listed if re.fullmatch(r"fcos-lab/outputs/.*/trials/\w+/summary.json", name)]
    assert any(name.startswith("fcos-lab/mlflow/") and name.endswith("report.html") for name in listed)
    assert not (work / "outputs").exists()
    # The same command again finds all of it done.
    again = services.run("lab", [python, str(ROOT / entry), *words, *SHARED[1:]], work)
    assert again.returncode == 0 and runs(Path(), NAME, store).keys() == found.keys(), again.stdout + again.stderr


def test_keys_are_made_once_and_a_token_is_its_owners(tmp_path: Path, ray_folder: None) -> None:
    for volume in ("ray-keys", "database-keys"):
        (tmp_path / volume).mkdir()
    services = Services(tmp_path, free_port())
    services.run_to_its_end("keys")
    token = tmp_path / "ray-keys" / "ray_token"
    before = token.read_text()
    services.run_to_its_end("keys")
    assert len(before) == 64 and token.read_text() == before and token.stat().st_mode & 0o777 == 0o600
