"""What the tests of whole runs share: a run over several workers without Ray."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, Timeout

from fcos.storage.run_folder import RunSummary
from orchestration.config.processors import usable_cpus
from tests.helpers.processes.holding import Hold
from tests.helpers.processes.waiting import PATIENCE


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """One test of whole runs more than there are processors at once, also where more processes run tests.

    One that is marked `alone` takes all slots. Waiting counts for no test.
    """
    # Pytest asks here for the tests of other folders too.
    if not item.path.is_relative_to(Path(__file__).parent):
        return (yield)
    # Whoever waits for slots keeps the gate, so that those who come later do not take them first.
    gate = _lock("gate")
    with ExitStack() as stack:
        if item.get_closest_marker("alone"):
            for each in (gate, *_slots()):
                stack.enter_context(each)
        else:
            with gate:
                stack.enter_context(_any_of(_slots()))
        return (yield)


def _lock(name: str) -> FileLock:
    return FileLock(Path(tempfile.gettempdir()) / f"fcos_lab_whole_runs_{os.getuid()}_{name}.lock")


def _slots() -> list[FileLock]:
    # One more than processors: a whole run waits for a fifth of its time.
    return [_lock(str(number)) for number in range(usable_cpus() + 1)]


def _any_of(slots: list[FileLock]) -> AbstractContextManager[object]:
    """The first slot that is free, taken until the block ends."""
    while True:
        for slot in slots:
            with suppress(Timeout):
                return slot.acquire(blocking=False)
        time.sleep(0.05)


def _run_with_workers(values: dict[str, Any], folder: Path, workers: int) -> list[Any]:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(values))
    command = [sys.executable, str(Path(__file__).with_name("gloo_worker.py"))]
    processes = [
        subprocess.Popen([*command, str(rank), str(workers), str(folder)], stderr=subprocess.PIPE, text=True)
        for rank in range(workers)
    ]
    errors = [process.communicate(timeout=PATIENCE)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * workers, errors
    results = [json.loads((folder / f"worker_{rank}.json").read_text()) for rank in range(workers)]
    return [(RunSummary.model_validate(summary), curve, steps) for summary, curve, steps in results]


@pytest.fixture(scope="session")
def run_with_workers() -> Callable[[dict[str, Any], Path, int], list[Any]]:
    """Summary, loss curve and reported steps of each of the workers of a gloo group."""
    return _run_with_workers


@pytest.fixture
def hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hold:
    """Holds the trainings of sweeps, and of Ray nodes, that the test starts from here on."""
    made = Hold(tmp_path / "holds")
    for key, value in made.environment.items():
        monkeypatch.setenv(key, value)
    return made
