"""Whether a server listens at an address is found by one connection."""

import socket

from orchestration.cluster.listening import connection_error
from tests.helpers.processes.waiting import PATIENCE


def test_a_server_that_listens_has_no_error_and_none_once_it_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert connection_error(address, PATIENCE) is None
    assert isinstance(connection_error(address, PATIENCE), ConnectionRefusedError)


def test_a_port_that_cannot_exist_is_an_error_and_no_crash() -> None:
    # From Python 3.13 on it is a failed look-up of the service.
    assert isinstance(connection_error(f"127.0.0.1:{10**30}", PATIENCE), OverflowError | socket.gaierror)
