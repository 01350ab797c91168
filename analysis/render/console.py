"""Console output of reports: no traceback for a character that cannot be encoded, nor for a closed pipe."""

import codecs
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table as RichTable
from rich.text import Text

from analysis.formatting import MINUS, MISSING
from fcos.streams import exit_code_of_closed_output, flush_output

if TYPE_CHECKING:
    from analysis.render.tables import Table

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
    _replace_unprintable()
    try:
        print_report()
        flush_output()
    except BrokenPipeError:
        return exit_code_of_closed_output("report: standard output was closed; the files are written")
    return 0


def print_early(print_results: Callable[[], None]) -> None:
    """Print before the files are written; where standard output is closed, what is printed after them fails too."""
    _replace_unprintable()
    with suppress(BrokenPipeError):
        print_results()
        flush_output()


def _replace_unprintable() -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        codecs.register_error(ERROR_HANDLER, _replace_characters)
        sys.stdout.reconfigure(errors=ERROR_HANDLER)


def _replace_characters(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    characters = error.object[error.start : error.end]
    return "".join(REPLACEMENTS.get(character, "?") for character in characters), error.end


def fit_table(table: "Table", sweep: str, console: Console) -> RichTable:
    """Return the table without its seeds; on a narrow console with closer columns, then without optional ones."""
    from analysis.render.tables import format_cells

    columns = [column for column in table.columns if not column.key.startswith("seed ")]
    required = [column for column in columns if not column.optional]
    for fitting, padding in ((columns, (0, 1)), (columns, (0, 1, 0, 0)), (required, (0, 1, 0, 0))):
        # Text, not markup: names come from the store.
        title = Text(f"{sweep}: {table.caption}")
        rich_table = RichTable(box=SIMPLE_HEAD, title=title, title_justify="left", padding=padding)
        for column in fitting:
            rich_table.add_column(Text(column.header), justify=column.align, overflow="fold")
        for cells in format_cells(table.frame, fitting):
            rich_table.add_row(*(Text(cell) for cell in cells))
        if console.measure(rich_table, options=console.options.update(max_width=10_000)).maximum <= console.width:
            break
    return rich_table
