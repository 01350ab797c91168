"""Servers on a host of a test, for commands on other hosts: a bucket of S3, and a tracking server."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.helpers.processes.hosts import Hosts
from tests.helpers.processes.namespaces import HOME, Host
from tests.helpers.servers.s3_server import BUCKET, client_environment
from tests.helpers.servers.start import start_server

S3_PORT, TRACKING_PORT = 9000, 5000
# moto verifies no signature, but wants one.
CALL = """
import sys, urllib.error, urllib.request
signed = "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request, Signature=x"
request = urllib.request.Request(sys.argv[2], headers={"Authorization": signed}, method=sys.argv[1])
try:
    sys.stdout.write(urllib.request.urlopen(request).read().decode())
except urllib.error.HTTPError as error:
    error.code == 404 or sys.exit(str(error))
"""


@dataclass
class HostServers:
    """An empty bucket and a tracking server, which reach no further than the network of the hosts."""

    host: Host
    logs: Path
    processes: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    @property
    def tracking(self) -> str:
        return f"http://{self.host.address}:{TRACKING_PORT}"

    @property
    def store(self) -> Path:
        """The database of the tracking server, as this process sees it."""
        return self.host.home / "mlflow.db"

    @property
    def client(self) -> dict[str, str]:
        """The variables by which a command on another host finds the bucket."""
        return {**client_environment(f"http://{self.host.address}:{S3_PORT}"), "NO_PROXY": "*", "no_proxy": "*"}

    def content(self, key: str) -> str:
        """Return the content of an object; empty where there is none."""
        return self._call("GET", key)

    def start(self, environment: Mapping[str, str]) -> None:
        """Start both, and make the bucket."""
        env = {key: value for key, value in environment.items() if not key.startswith("PYTEST_")}
        env |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        self._start(S3_PORT, ("moto.server", "-H", self.host.address, "-p", str(S3_PORT)), env)
        files = ("--backend-store-uri", f"sqlite:///{HOME / self.store.name}", "--artifacts-destination", "artifacts")
        listens = ("--host", self.host.address, "--port", str(TRACKING_PORT), "--workers", "1")
        self._start(TRACKING_PORT, ("mlflow", "server", *listens, *files), env)
        self._call("PUT")

    def end(self) -> None:
        """Kill all processes of both."""
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _call(self, method: str, key: str = "") -> str:
        address = f"http://{self.host.address}:{S3_PORT}/{BUCKET}/{key}"
        return self.host.run(sys.executable, "-I", "-S", "-c", CALL, method, address)

    def _start(self, port: int, words: tuple[str, ...], env: Mapping[str, str]) -> None:
        command, log = self.host.command(sys.executable, "-m", *words), self.logs / f"{words[0]}.log"
        self.processes.append(start_server(command, log, lambda: self._listens(port), env=env))

    def _listens(self, port: int) -> bool:
        probe = self.host.command("bash", "-c", f": < /dev/tcp/{self.host.address}/{port}")
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@contextmanager
def host_servers(hosts: Hosts, name: str) -> Iterator[HostServers]:
    """Yield servers on a host that is on the network."""
    servers = HostServers(hosts[name], hosts.folder)
    try:
        servers.start(hosts.environment)
        yield servers
    finally:
        servers.end()
