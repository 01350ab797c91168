"""An S3 server of moto as a process on loopback, and the environment by which clients reach it."""

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.helpers.processes.ports import free_port
from tests.helpers.processes.waiting import PATIENCE, wait_until
from tests.helpers.servers.start import stop_server

BUCKET = "lab"
# Credentials that no service knows: tests look for them in logs and outputs, where they must not be.
ACCESS_KEY, SECRET_KEY = "AKIDTESTONLY00000000", "secret-of-the-tests-0123456789"


@dataclass
class S3Server:
    """A server that is up, with one empty bucket."""

    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        wait_until(self._answers)
        self.request("PUT", BUCKET)

    def _answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, "the server ended"
        try:
            self.request("GET", "moto-api/")
        except OSError:
            return False
        return True

    def request(self, method: str, path: str, data: bytes | None = None) -> bytes:
        """Call the server itself, past the proxy and its faults, with a signature that moto does not verify."""
        headers = {
            "Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request, Signature=x",
            # Else a text counts as a form, of which nothing is stored.
            "Content-Type": "application/octet-stream",
        }
        request = urllib.request.Request(f"{self.url}/{path}", data, headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=PATIENCE) as answer:
            return bytes(answer.read())

    def content(self, key: str) -> bytes | None:
        """The content of an object, None where there is none."""
        try:
            return self.request("GET", f"{BUCKET}/{key}")
        except urllib.error.HTTPError as error:
            assert error.code == 404, error
            return None

    def remove(self, key: str) -> None:
        self.request("DELETE", f"{BUCKET}/{key}")

    def stop(self) -> None:
        assert self.process is not None
        stop_server(self.process)


@contextmanager
def s3_server() -> Iterator[S3Server]:
    server = S3Server()
    try:
        server.start()
        yield server
    finally:
        if server.process is not None:
            server.stop()


def client_environment(url: str) -> dict[str, str]:
    """The variables by which s3fs calls a server, and nothing else does."""
    return {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": url,
        "AWS_EC2_METADATA_DISABLED": "true",
        # Neither a person's own files nor a proxy of the machine.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
