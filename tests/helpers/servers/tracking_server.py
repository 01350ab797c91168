"""MLflow's server with basic auth on a PostgreSQL database, on loopback, as docs/mlflow.md starts it."""

import base64
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from tests.helpers.processes.ports import free_port
from tests.helpers.processes.waiting import PATIENCE
from tests.helpers.servers.postgres import Database, database, needs_database
from tests.helpers.servers.start import responds, start_server

RUNS, USERS = "mlflow", "mlflow_auth"
CONFIG = """[mlflow]
default_permission = READ
database_uri = {uri}
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
"""


@dataclass(frozen=True)
class Account:
    """A user of the server."""

    name: str
    password: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def variables(self) -> dict[str, str]:
        """What MLflow's client takes the user from."""
        return {"MLFLOW_TRACKING_USERNAME": self.name, "MLFLOW_TRACKING_PASSWORD": self.password}

    @property
    def header(self) -> str:
        return "Basic " + base64.b64encode(f"{self.name}:{self.password}".encode()).decode()

    def within(self, uri: str) -> str:
        """The address with the user in it."""
        scheme, _, rest = uri.partition("://")
        return f"{scheme}://{self.name}:{self.password}@{rest}"


@dataclass
class TrackingServer:
    """The server, whose artifacts lie in `folder`, or where `destination` says; `user` is no administrator."""

    database: Database
    folder: Path
    destination: str | None = None
    # Of the server's process alone.
    variables: Mapping[str, str] = field(default_factory=dict)
    admin: Account = field(default_factory=lambda: Account("admin"))
    user: Account = field(default_factory=lambda: Account("lab"))
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        config = self.folder / "auth.ini"
        config.touch(mode=0o600)
        config.write_text(CONFIG.format(uri=self.database.uri(USERS)))
        # Of the test that starts it: MLflow's store does otherwise under one.
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "PYTEST_"))}
        variables = {
            **kept,
            "HOME": str(self.folder),
            # Not as arguments, which everybody can list.
            "MLFLOW_BACKEND_STORE_URI": self.database.uri(RUNS),
            "MLFLOW_AUTH_CONFIG_PATH": str(config),
            "MLFLOW_AUTH_ADMIN_PASSWORD": self.admin.password,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            **self.variables,
        }
        command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--workers", "2"]
        command += [
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--artifacts-destination",
            self.destination or str(self.artifacts),
        ]
        log = self.folder / "server.log"
        self.process = start_server(command, log, lambda: responds(f"{self.uri}/health"), env=variables)

    def stop(self) -> None:
        """End all processes of the server at once."""
        assert self.process is not None
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def add(self, account: Account) -> None:
        """Add a user who is no administrator."""
        self.request("/api/2.0/mlflow/users/create", {"username": account.name, "password": account.password})

    def request(self, route: str, values: dict[str, Any]) -> Any:
        """What the server answers the administrator."""
        headers = {"Content-Type": "application/json", "Authorization": self.admin.header}
        with urlopen(Request(f"{self.uri}{route}", json.dumps(values).encode(), headers), timeout=PATIENCE) as answer:
            return json.loads(answer.read())

    def rows(self, sql: str, **values: object) -> list[Any]:
        """The rows of a statement on the database of the runs."""
        return self.database.query(sql, RUNS, **values)


@contextmanager
def tracking_server(
    folder: Path, destination: str | None = None, variables: Mapping[str, str] | None = None
) -> Iterator[TrackingServer]:
    """A server with a user, for the time of the block; see TrackingServer."""
    needs_database(["psycopg2", "flask_wtf"])
    with database(RUNS, USERS) as made:
        server = TrackingServer(made, folder, destination, variables or {})
        try:
            server.start()
            server.add(server.user)
            yield server
        finally:
            if server.process is not None:
                server.stop()
