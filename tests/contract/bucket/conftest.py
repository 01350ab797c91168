"""An S3 server of moto on loopback, and the environment that leads to it."""

import uuid
from collections.abc import Iterator

import pytest

from fcos.storage.bucket.address import Address
from fcos.storage.bucket.objects import Objects, open_objects
from tests.helpers.servers.faulty_proxy import FaultyProxy
from tests.helpers.servers.proxied_s3 import proxy
from tests.helpers.servers.s3_server import BUCKET, S3Server, s3_server

__all__ = ["proxy"]


@pytest.fixture(scope="session")
def server() -> Iterator[S3Server]:
    with s3_server() as found:
        yield found


@pytest.fixture
def objects(proxy: FaultyProxy) -> Objects:
    """Objects below an address of the test's own, through the proxy."""
    return open_objects(Address.parse(f"s3://{BUCKET}/{uuid.uuid4().hex}"), patience=20.0)
