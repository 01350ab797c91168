"""Console of a command: standard output that may be closed, tables, durations, counts."""

import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fcos.streams import discard_output
from orchestration.cli.entry import OutputClosed
from orchestration.cli.event_records import NoteEvent
from orchestration.cli.event_stream import EventStream


class OutputConsole(Console):
    """Standard output; where it is closed the command ends in order, whatever is still printed on the way."""

    def __init__(self, *, plain: bool = False) -> None:
        """Create the console; plain: without bars and colors, also on a terminal."""
        super().__init__(file=sys.stdout, force_terminal=False if plain else None)

    def on_broken_pipe(self) -> None:
        """Raise OutputClosed in the main thread; what other threads print is lost until that notices."""
        if threading.current_thread() is not threading.main_thread():
            del self._buffer[:]
            return
        self.quiet = True
        discard_output(self.file)
        raise OutputClosed


@dataclass(frozen=True)
class Output:
    """Where a command shows what it does: to people on the console, to programs in the stream of events."""

    console: Console
    stream: EventStream

    @classmethod
    def of(cls, stream: EventStream) -> "Output":
        """Return the output of a command whose events go into a stream; then the console is a plain one."""
        return cls(OutputConsole(plain=stream.is_open), stream)

    def note(self, text: str, style: str = "") -> None:
        """Print a line and emit it as a note."""
        self.console.print(text, style=style, highlight=False, soft_wrap=True, markup=False)
        if self.stream.is_open:
            self.stream.emit(NoteEvent(text=text))


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


def format_count(count: int, noun: str) -> str:
    """Return `1 run`, `2 runs`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
