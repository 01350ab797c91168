"""What the tests of whole runs share: a run over several workers without Ray."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[object]:
    """Whole runs take every core: one at a time, also where several processes run tests. Waiting counts for no test."""
    # Pytest asks here for the tests of other folders too.
    whole_run = item.path.is_relative_to(Path(__file__).parent)
    name = f"fcos_lab_whole_runs_{os.getuid()}.lock"
    with FileLock(Path(tempfile.gettempdir()) / name) if whole_run else nullcontext():
        return (yield)


def _run_with_workers(values: dict[str, Any], folder: Path, workers: int) -> list[Any]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(values))
    command = [sys.executable, str(Path(__file__).with_name("gloo_worker.py"))]
    processes = [
        subprocess.Popen([*command, str(rank), str(workers), str(port), str(folder)], stderr=subprocess.PIPE, text=True)
        for rank in range(workers)
    ]
    errors = [process.communicate(timeout=200)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * workers, errors
    return [json.loads((folder / f"worker_{rank}.json").read_text()) for rank in range(workers)]


@pytest.fixture(scope="session")
def run_with_workers() -> Callable[[dict[str, Any], Path, int], list[Any]]:
    """Summary, loss curve and reported steps of each of the workers of a gloo group."""
    return _run_with_workers
