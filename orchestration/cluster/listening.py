"""Whether a server listens at an address."""

import socket


def connection_error(address: str, seconds: float) -> OSError | OverflowError | None:
    """Return why no connection to host:port is made within some seconds; None where a server listens there."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=seconds).close()
    except (OSError, OverflowError) as error:
        return error
    return None
