"""Ports for servers that tests start."""

import secrets
import socket
from contextlib import suppress


def free_port() -> int:
    """A free loopback port below those that the system, Ray's workers and a sweep's dashboard are given."""
    while True:
        port = 5000 + secrets.randbelow(3000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
