"""The console that a report is shown on, which neither a character nor a reader who leaves ends with a traceback."""

import codecs
import io
import sys
from collections.abc import Callable

from rich.console import Console

from analysis.formatting import MINUS, MISSING
from fcos.streams import exit_code_of_closed_output, flush_output

# What is printed for a character that the output's encoding lacks; a minus that is lost would be another number.
LIKENESSES = {MINUS: "-", MISSING: "-", "±": "+-", "∞": "inf"}


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
        flush_output()
    except BrokenPipeError:
        return exit_code_of_closed_output("report: standard output was closed; the files are written")
    return 0


def _likeness(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(LIKENESSES.get(character, "?") for character in lacking), error.end
