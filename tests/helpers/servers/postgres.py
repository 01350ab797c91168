"""A PostgreSQL server with data of its own on loopback, which a test starts, stops and kills.

Where PostgreSQL or its driver is not installed, tests are skipped by name:

uv run --group database pytest -m slow tests/system/faults/test_database.py
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy
from sqlalchemy.exc import OperationalError

from tests.helpers.processes.ports import free_port
from tests.helpers.processes.waiting import PATIENCE, wait_until
from tests.helpers.servers.start import start_server

# Where Debian keeps what is not on the PATH.
DEBIAN = "/usr/lib/postgresql"
OWNER = "lab"
SETTINGS = (
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    # Killed processes lose nothing by it, only a machine without power would.
    "fsync=off",
    "shared_buffers=32MB",
    "max_connections=120",
)


def find_program(name: str) -> Path:
    """A program of PostgreSQL; without it the test is skipped."""
    on_path = shutil.which(name)
    found = [Path(on_path)] if on_path else sorted(Path(DEBIAN).glob(f"*/bin/{name}"))
    if not found:
        pytest.skip(f"needs PostgreSQL: there is no {name}")
    return found[-1]


def _unprivileged() -> dict[str, Any]:
    """Return options of Popen by which root starts a process as an unprivileged account: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam("nobody")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _is_over(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@dataclass
class Database:
    """A server of one user with a password; where root runs the test, an unprivileged account owns its processes."""

    folder: Path
    port: int = field(default_factory=free_port)
    password: str = field(default_factory=lambda: secrets.token_hex(16))
    process: "subprocess.Popen[bytes] | None" = None

    def uri(self, name: str = "postgres") -> str:
        """The address of a database; SQLAlchemy takes another driver than psycopg2 where none is named."""
        return f"postgresql+psycopg2://{OWNER}:{self.password}@127.0.0.1:{self.port}/{name}"

    def create(self) -> None:
        """Make the files of the server."""
        secret = self.folder / "password"
        secret.touch(mode=0o600)
        secret.write_text(self.password)
        owner = _unprivileged()
        for path in (self.folder, secret) if owner else ():
            os.chown(path, owner["user"], owner["group"])
        options = ["--auth=scram-sha-256", f"--username={OWNER}", f"--pwfile={secret}", "--locale=C", "--encoding=UTF8"]
        command = [str(find_program("initdb")), f"--pgdata={self.folder / 'data'}", "--no-sync", *options]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False, **owner)
        secret.unlink()
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        settings = [word for setting in SETTINGS for word in ("-c", setting)]
        command = [str(find_program("postgres")), "-D", str(self.folder / "data"), "-p", str(self.port), *settings]
        self.process = start_server(command, self.folder / "log.txt", self._answers, **_unprivileged())

    def _answers(self) -> bool:
        try:
            self.query("SELECT 1")
        except OperationalError:
            return False
        return True

    def stop(self) -> None:
        """Shut down as a service manager does: what is under way is rolled back, and all connections end."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=PATIENCE)

    def kill(self) -> None:
        """Kill every process of the server, as a power cut would."""
        assert self.process is not None
        if self.process.poll() is not None:
            return
        # A child that is alive keeps the memory that the next server would use.
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            wait_until(lambda: all(map(_is_over, children)))
        self.process.wait()

    def cut_connections(self) -> int:
        """End every connection but the one that does it, and whatever is under way there; returns how many."""
        ended = self.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return len(ended)

    def query(self, sql: str, database: str = "postgres", **values: object) -> list[Any]:
        """The rows of a statement, each of which is a transaction by itself."""
        engine = sqlalchemy.create_engine(
            self.uri(database), poolclass=sqlalchemy.NullPool, isolation_level="AUTOCOMMIT"
        )
        try:
            with engine.connect() as connection:
                result = connection.execute(sqlalchemy.text(sql), values)
                return list(result.all()) if result.returns_rows else []
        finally:
            engine.dispose()


def needs_database(modules: Sequence[str] = ("psycopg2",)) -> None:
    """Skip the test where PostgreSQL or a module that its users need is not installed."""
    for program in ("initdb", "postgres"):
        find_program(program)
    for module in modules:
        pytest.importorskip(module, reason=f"{module} is not installed; see uv run --group database")


@contextmanager
def database(*names: str) -> Iterator[Database]:
    """A server with databases of some names, which is gone with all its files after the block."""
    needs_database()
    # Not in the folder of the test, which no other user may enter.
    made = Database(Path(tempfile.mkdtemp(prefix="pg")))
    try:
        made.create()
        made.start()
        for name in names:
            made.query(f"CREATE DATABASE {name}")
        yield made
    finally:
        if made.process is not None:
            made.kill()
        shutil.rmtree(made.folder, ignore_errors=True)
