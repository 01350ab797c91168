"""Console of a command: standard output that may be closed, tables, durations."""

import sys
import threading
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fcos.streams import discard_output
from orchestration.cli.entry import OutputClosed


class OutputConsole(Console):
    """Standard output; where it is closed the command ends in order, whatever is still printed on the way."""

    def __init__(self) -> None:
        super().__init__(file=sys.stdout)

    def on_broken_pipe(self) -> None:
        """Raise OutputClosed in the main thread; what other threads print is lost until that notices."""
        if threading.current_thread() is not threading.main_thread():
            del self._buffer[:]
            return
        self.quiet = True
        discard_output(self.file)
        raise OutputClosed


def show_last_line(console: Console, text: str) -> None:
    """Print the last line of a command that ends early."""
    console.print(text, style="yellow", highlight=False, soft_wrap=True)
    console.file.flush()


def show_table(console: Console, title: str, header: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> None:
    """Print a small table under a title."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    console.print(table)


def format_duration(seconds: float | None) -> str:
    """Return minutes and seconds, with hours where there are any; `--:--` for None."""
    if seconds is None:
        return "--:--"
    whole = int(seconds + 0.5)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes:02d}:{whole % 60:02d}"
