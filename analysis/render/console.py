"""Console output of reports: no traceback for a character that cannot be encoded, nor for a closed pipe."""

import codecs
import io
import sys
from collections.abc import Callable

from rich.console import Console

from analysis.formatting import MINUS, MISSING
from fcos.streams import exit_code_of_closed_output, flush_output

# Printed for a character that the output's encoding lacks; without its minus a number would be another one.
REPLACEMENTS = {MINUS: "-", MISSING: "-", "±": "+-", "∞": "inf"}
ERROR_HANDLER = "report_replacements"


class ReportConsole(Console):
    """Standard output without highlighting; raises BrokenPipeError where it is closed."""

    def __init__(self, width: int | None = None) -> None:
        super().__init__(highlight=False, width=width)

    def on_broken_pipe(self) -> None:
        """Raise instead of exiting, as rich does; print_safely handles it."""
        raise BrokenPipeError


def print_safely(print_report: Callable[[], None]) -> int:
    """Print with replacements for what the encoding lacks; returns 0, or 141 where standard output is closed."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        codecs.register_error(ERROR_HANDLER, _replace_characters)
        sys.stdout.reconfigure(errors=ERROR_HANDLER)
    try:
        print_report()
        flush_output()
    except BrokenPipeError:
        return exit_code_of_closed_output("report: standard output was closed; the files are written")
    return 0


def _replace_characters(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    characters = error.object[error.start : error.end]
    return "".join(REPLACEMENTS.get(character, "?") for character in characters), error.end
