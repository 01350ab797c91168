"""The console that a report is shown on, which neither a character nor a reader who leaves ends with a traceback."""

import io
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from rich.console import Console

# What a shell reports of a program that wrote into a closed pipe.
BROKEN_PIPE = 128 + signal.SIGPIPE


class ReportConsole(Console):
    """Standard output without highlighting; raises BrokenPipeError where it is closed."""

    def __init__(self, width: int | None = None) -> None:
        super().__init__(highlight=False, width=width)

    def on_broken_pipe(self) -> None:
        """Leave what to do to whoever prints."""
        raise BrokenPipeError


def printing(show: Callable[[], None]) -> int:
    """Print with a question mark for what the encoding lacks; returns 0, or 141 where standard output is closed."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        show()
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
        print("report: standard output was closed; the files are written", file=sys.stderr)
        return BROKEN_PIPE
    return 0
