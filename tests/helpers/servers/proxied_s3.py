"""The fixture of an S3 server behind a proxy; the test's own `server` decides how long the server lives."""

from collections.abc import Iterator

import pytest

from tests.helpers.servers.faulty_proxy import FaultyProxy, faulty_proxy
from tests.helpers.servers.s3_server import S3Server, client_environment


@pytest.fixture
def proxy(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """A proxy before the server; whatever calls S3 in the test, or in a process that it starts, goes through it."""
    with faulty_proxy(server.port) as found:
        for key, value in client_environment(found.url).items():
            monkeypatch.setenv(key, value)
        yield found
