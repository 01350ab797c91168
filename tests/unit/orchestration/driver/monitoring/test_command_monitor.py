"""The record of a command from its start to its end, and the metrics while Ray runs its trainings."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from unittest.mock import create_autospec

import pytest
from rich.console import Console

from fcos.errors import ConfigError, ReadError
from orchestration.cli.console import Output
from orchestration.cli.event_stream import SILENT
from orchestration.driver.monitoring import command_monitor
from orchestration.driver.monitoring.command_monitor import CommandMonitor
from orchestration.driver.progress import SweepProgress
from orchestration.monitor.record import StatusRecord, read_status
from orchestration.planning.prepare import Prepared
from orchestration.tracking.tracker import Tracker
from tests.helpers.experiments.seed_rounds import plan_rounds


class Command:
    """A command whose record is written again when a test calls what a thread would."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        lab, self.plan, _ = plan_rounds(folder)
        self.plan.folder.mkdir(exist_ok=True)
        self.repeated: list[Callable[[], None]] = []
        # Phases of the records that the metrics were set by.
        self.exported: list[str] = []
        command = self

        @contextmanager
        def repeating(name: str, seconds: float, call: Callable[[], None]) -> Iterator[None]:
            command.repeated.append(call)
            try:
                yield
            finally:
                command.repeated.remove(call)

        class Metrics:
            def __init__(self, sweep: str) -> None:
                assert sweep == command.plan.name

            def update(self, record: StatusRecord) -> None:
                command.exported.append(record.phase)

        monkeypatch.setattr(command_monitor, "repeating", repeating)
        monkeypatch.setattr(command_monitor, "SweepMetrics", Metrics)
        tracker = create_autospec(Tracker, instance=True)
        tracker.outage, tracker.lag_seconds = None, 0.0
        prepared = cast("Prepared", SimpleNamespace(lab=lab, plan=self.plan))
        output = Output(Console(file=io.StringIO()), SILENT)
        self.monitor = CommandMonitor(prepared, SweepProgress.of(self.plan), tracker, output)

    def tick(self) -> StatusRecord:
        """Do what the thread does after some seconds; return the record."""
        for call in self.repeated:
            call()
        return self.record

    @property
    def record(self) -> StatusRecord:
        record = read_status(self.plan.folder)
        assert record is not None
        return record


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


def test_the_record_changes_from_the_start_of_a_command_to_its_end(command: Command) -> None:
    records = []

    def run() -> int:
        records.extend([command.record, command.tick()])
        with command.monitor.running():
            records.extend([command.record, command.tick()])
        # The report is written, which may take minutes.
        records.extend([command.record, command.tick()])
        return 4

    assert command.monitor.watch(run) == 4
    assert [each.phase for each in records] == ["starting", "starting", "running", "running", "ending", "ending"]
    counts = [each.count for each in records]
    assert counts == sorted(set(counts)), "a change is what other machines look for"
    assert (command.record.phase, command.record.exit_code, command.repeated) == ("ended", 4, [])


def test_metrics_are_set_while_ray_runs_and_not_after(command: Command) -> None:
    def run() -> int:
        command.tick()
        with command.monitor.running():
            command.tick()
        command.tick()
        return 0

    command.monitor.watch(run)
    assert command.exported == ["running", "running", "ending"]


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigError("a mistake"), 2), (ReadError("a disk"), 2), (RuntimeError("a bug"), 1), (KeyboardInterrupt(), None)],
)
def test_a_command_that_an_error_ends_has_its_exit_code(
    command: Command, error: BaseException, code: int | None
) -> None:
    def fail() -> int:
        raise error

    with pytest.raises(type(error)):
        command.monitor.watch(fail)
    assert (command.record.phase, command.record.exit_code, command.repeated) == ("ended", code, [])
