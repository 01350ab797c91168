"""Console output of reports: no traceback for a character that cannot be encoded, nor for a closed pipe."""

import codecs
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

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


@contextmanager
def show_progress(description: str) -> Iterator[Callable[[int, int], None]]:
    """Give a function that shows how many of how many are done: on a terminal's standard error, from the first on."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(description, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


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
