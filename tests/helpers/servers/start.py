"""Servers as processes, started until they answer."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from tests.helpers.processes.waiting import PATIENCE


def start_server(
    command: Sequence[str], log: Path, answers: Callable[[], bool], **options: Any
) -> "subprocess.Popen[bytes]":
    """Start a server in the folder of its log, in a session of its own, and wait until it answers.

    options: of Popen. A server that ends instead, or does not answer within PATIENCE, is killed, and its log is the
    message with which the test fails.
    """
    with log.open("ab") as file:
        process = subprocess.Popen(command, cwd=log.parent, stdout=file, stderr=file, start_new_session=True, **options)
    try:
        until = time.monotonic() + PATIENCE
        while not answers():
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.1)
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    return process


def stop_server(process: "subprocess.Popen[bytes]") -> None:
    """Ask a server to end, and kill it where it does not."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def responds(address: str) -> bool:
    """Return whether a server answers at an HTTP address."""
    try:
        urlopen(address, timeout=1).close()
    except (URLError, OSError):
        return False
    return True
