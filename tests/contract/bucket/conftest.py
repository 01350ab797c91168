"""Servers of S3 and of Google's storage on loopback, and the environment that leads to them."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from fcos.storage.bucket.address import Address
from fcos.storage.bucket.objects import Objects, open_objects
from tests.helpers.servers.faulty_proxy import Faults, FaultyProxy, faulty_proxy
from tests.helpers.servers.gcs_server import GcsServer, gcs_environment, gcs_server
from tests.helpers.servers.proxied_s3 import proxy
from tests.helpers.servers.s3_server import BUCKET, S3Server, client_environment, s3_server

__all__ = ["proxy"]


@pytest.fixture(scope="session")
def server() -> Iterator[S3Server]:
    with s3_server() as found:
        yield found


@pytest.fixture(scope="session")
def google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsServer]:
    with gcs_server(tmp_path_factory.mktemp("google")) as found:
        yield found


@pytest.fixture
def objects(proxy: FaultyProxy) -> Objects:
    """Objects below an address of the test's own, through the proxy."""
    return open_objects(Address.parse(f"s3://{BUCKET}/{uuid.uuid4().hex}"), patience=20.0)


@dataclass(frozen=True)
class Service:
    """A storage service behind a proxy, to which the environment leads."""

    scheme: str
    faults: Faults

    def address(self, path: str) -> str:
        return f"{self.scheme}://{path}"

    def objects(self, patience: float = 20.0) -> Objects:
        """Objects below an address of the caller's own."""
        return open_objects(Address.parse(self.address(f"{BUCKET}/{uuid.uuid4().hex}")), patience=patience)


@pytest.fixture(params=["s3", "gs"])
def service(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """Each service that is tested."""
    found: S3Server | GcsServer = request.getfixturevalue("server" if request.param == "s3" else "google")
    environment = client_environment if request.param == "s3" else gcs_environment
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with faulty_proxy(found.port) as between:
        for key, value in environment(between.url).items():
            monkeypatch.setenv(key, value)
        yield Service(request.param, between.faults)
