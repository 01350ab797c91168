"""The console that a report is shown on, which neither a character nor a reader who leaves ends with a traceback."""

import codecs
import io
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import IO

from rich.console import Console

from analysis.formatting import MINUS, MISSING

# What is printed for a character that the output's encoding lacks; a minus that is lost would be another number.
LIKENESSES = {MINUS: "-", MISSING: "-", "±": "+-", "∞": "inf"}
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
    """Print with likenesses for what the encoding lacks; returns 0, or 141 where standard output is closed."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        codecs.register_error("likeness", _likeness)
        sys.stdout.reconfigure(errors="likeness")
    try:
        show()
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _drop(sys.stdout)
        try:
            print("report: standard output was closed; the files are written", file=sys.stderr, flush=True)
        except OSError:
            _drop(sys.stderr)
        return BROKEN_PIPE
    return 0


def _likeness(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(LIKENESSES.get(character, "?") for character in lacking), error.end


def _drop(stream: IO[str]) -> None:
    """Let what is buffered go nowhere; it would fail again at the end."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
