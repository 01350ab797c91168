"""The process in which analysis writes a sweep's report, started ahead so that it has loaded its libraries by then."""

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress

from pydantic import TypeAdapter, ValidationError

from fcos.storage.events import ErrorEvent, ReportEvent
from fcos.streams import BROKEN_PIPE
from orchestration.cli.event_records import NoteEvent
from orchestration.cli.event_stream import EventStream
from orchestration.tracking.store import RETRIES

# What a report takes to load its libraries beside trainings.
LOADING_SECONDS = 15.0


class ReportProcess:
    """A command that loads its libraries, waits for a line on its standard input, and writes a report.

    It prints the table and the path, or one event where a stream of events is open.
    """

    def __init__(self, command: Sequence[str], stream: EventStream) -> None:
        self._command = command
        self._stream = stream
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self, tracking_uri: str) -> None:
        """Start the process for a tracking store, unless it was started before."""
        if self._process is None:
            self._process = self._start(tracking_uri)

    def begin_in_time(self, tracking_uri: str, seconds_left: float | None) -> None:
        """Start the process shortly before the last training ends; one that cannot start now is started by `write`."""
        if seconds_left is not None and seconds_left < LOADING_SECONDS:
            with suppress(OSError):
                self.begin(tracking_uri)

    def write(self, tracking_uri: str) -> bool:
        """Let the process write its report and wait for it; return whether there is one."""
        # One that was ended while it waited, such as for want of memory, is started again.
        if self._process is None or self._process.poll() is not None:
            self._process = self._start(tracking_uri)
        process = self._process
        printed, _ = process.communicate(b"\n")
        if self._stream.is_open and not self._emit(printed):
            return False
        # Whoever read standard output may be gone; the report is written before it is shown.
        return process.returncode in (0, BROKEN_PIPE)

    def end(self) -> None:
        """End the process where it still runs; where this one is killed, its own input ends and so does it."""
        if self._process is not None:
            with self._process as process:
                process.kill()

    def _start(self, tracking_uri: str) -> subprocess.Popen[bytes]:
        # A report only reads, which may be repeated: what keeps the writer from it is not handed on.
        inherited = {name: value for name, value in os.environ.items() if name != RETRIES}
        return subprocess.Popen(
            self._command,
            # Not as an argument: an address may hold a password, and everybody can list arguments.
            env={**inherited, "MLFLOW_TRACKING_URI": tracking_uri},
            # Ctrl-C reaches this process alone, which ends the report without a message from there.
            process_group=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if self._stream.is_open else None,
        )

    def _emit(self, printed: bytes) -> bool:
        """Emit the one event that the report printed, an error as a note; return whether it is a report.

        An error has the exit code of the report's process, which is not that of the sweep.
        """
        try:
            event: ReportEvent | ErrorEvent = TypeAdapter(ReportEvent | ErrorEvent).validate_json(printed)
        except ValidationError:
            return False
        if isinstance(event, ErrorEvent):
            text = "\n".join(f"report: {problem.text}" for problem in event.problems)
            self._stream.emit(NoteEvent(text=text))
            return False
        self._stream.emit(event)
        return True
