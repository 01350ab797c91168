"""Stream of events for programs: with --json standard output holds lines of JSON and nothing else."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

from fcos.streams import discard_output, reserve_output
from orchestration.cli.entry import OutputClosed

if TYPE_CHECKING:
    from fcos.storage.events import EventRecord

JSON_OPTION = "--json"


class EventStream:
    """Where a command writes its events; without a file it writes none."""

    def __init__(self, file: TextIO | None) -> None:
        self._file = file
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether the events have a reader."""
        return self._file is not None

    def emit(self, event: "EventRecord") -> None:
        """Write an event as a line; raises OutputClosed in the main thread where the reader is gone."""
        if self._file is None:
            return
        line = event.to_line()
        try:
            with self._lock:
                self._file.write(line)
                self._file.flush()
        except BrokenPipeError:
            discard_output(self._file)
            if threading.current_thread() is threading.main_thread():
                raise OutputClosed from None


SILENT = EventStream(None)


@contextmanager
def open_stream() -> Iterator[EventStream]:
    """Give standard output to events while the block runs; whatever else is printed goes to standard error.

    Raises OutputClosed where standard output is closed.
    """
    if sys.stdout is None:
        raise OutputClosed
    with reserve_output() as output:
        file = os.fdopen(os.dup(output), "w", encoding="utf-8", errors="replace")
        try:
            yield EventStream(file)
        finally:
            with suppress(BrokenPipeError):
                file.close()
