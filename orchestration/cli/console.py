"""What a person sees: one live line for each training on a terminal, plain lines elsewhere."""

import sys
import threading
from collections.abc import Sequence
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fcos.streams import discard_output
from orchestration.cli.entry import OutputClosed
from orchestration.cli.progress import Board, Row, clock

STYLES = {
    "finished": "green",
    "kept": "green",
    "failed": "red",
    "stopped": "yellow",
    "running": "",
    "waiting": "dim",
}
# Plain lines are written when a training passes each of these parts of its way, unless its last line is this young.
QUARTERS = (0.25, 0.5, 0.75)
QUIET_SECONDS = 5.0
# Of a terminal's height: the overall bar, what is hidden, and a line to spare.
LINES_KEPT_FREE = 4


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


class View(Protocol):
    """Shows a board while a block runs."""

    def __enter__(self) -> "View": ...

    def __exit__(self, *reason: object) -> None: ...

    def changed(self, row: Row) -> None:
        """Something of a row is new."""
        ...

    def end(self, text: str) -> None:
        """Show no more than this."""
        ...


def make_view(board: Board, console: Console) -> View:
    """Live where the console is a terminal, plain lines elsewhere."""
    return LiveView(board, console) if console.is_terminal else PlainView(board, console)


class LiveView:
    """A table that is drawn anew a few times a second."""

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._console = console
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4)

    def __enter__(self) -> "LiveView":
        self._live.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._live.stop()

    def changed(self, row: Row) -> None:
        """The next drawing shows it."""

    def end(self, text: str) -> None:
        """Leave the table as it is, and the terminal as it was."""
        self._live.stop()
        show_end(self._console, text)

    def _render(self) -> Group:
        board = self._board
        table = Table.grid(padding=(0, 2))
        shown = rows_that_fit(board.rows, self._console.height - LINES_KEPT_FREE)
        for row in shown:
            table.add_row(*_cells(row))
        if hidden := len(board.rows) - len(shown):
            table.add_row(Text(f"and {hidden} more", style="dim"), "", "", "", "")
        ended = board.count("finished", "failed", "kept", "stopped")
        table.add_row("", "", "", "", "")
        table.add_row(
            Text(f"all: {ended} of {len(board.rows)}", style="bold"),
            ProgressBar(total=max(board.steps, 1), completed=board.steps_done, width=24),
            "",
            "",
            Text(clock(board.seconds_left) + " left" if ended < len(board.rows) else "", style="bold"),
        )
        return Group(table)


def rows_that_fit(rows: Sequence[Row], lines: int) -> list[Row]:
    """As many rows as there are lines, in order: what runs and failed rather than what waits or ended."""
    first = {"running": 0, "failed": 1, "waiting": 2}
    chosen = sorted(rows, key=lambda row: first.get(row.state, 3))[: max(lines, 1)]
    kept = {id(row) for row in chosen}
    return [row for row in rows if id(row) in kept]


def _cells(row: Row) -> tuple[Text, ProgressBar, str, str, Text]:
    done = row.total_steps if row.state in ("finished", "kept") else row.step
    loss = f"loss {row.loss:.3f}" if row.loss is not None else ""
    if row.state == "running":
        end = Text(f"{clock(row.seconds_left)} left" if row.step else row.doing)
    else:
        end = Text(row.note or row.state, style=STYLES[row.state])
    return (
        Text(row.label, style=STYLES[row.state]),
        ProgressBar(max(row.total_steps, 1), done, 24),
        loss,
        row.ap_text,
        end,
    )


class PlainView:
    """A line at a training's start and end, and in a long one at each quarter, or round of a search for ranges."""

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._console = console
        # What a row's last line said, and after how many seconds of its attempt.
        self._told: dict[int, tuple[tuple[object, ...], float]] = {}

    def __enter__(self) -> "PlainView":
        return self

    def __exit__(self, *reason: object) -> None:
        return None

    def end(self, text: str) -> None:
        """Write a last line."""
        show_end(self._console, text)

    def changed(self, row: Row) -> None:
        """Write a line where the row's state is new, or its quarter some seconds after its last line."""
        quarter = sum(row.step >= part * row.total_steps for part in QUARTERS) if row.step else 0
        news = (row.state, quarter, row.search) if row.state == "running" else (row.state,)
        told, seconds = self._told.get(id(row), (("waiting",), 0.0))
        # A new attempt counts its seconds from zero; at the last step the end is about to be told.
        early = 0 <= row.seconds - seconds < QUIET_SECONDS or row.step == row.total_steps
        if told == news or (told[0] == row.state and early):
            return
        self._told[id(row)] = (news, row.seconds)
        self._console.print(self._line(row), highlight=False, soft_wrap=True, markup=False)

    def _line(self, row: Row) -> str:
        parts = [f"{row.label}:"]
        parts.append(row.doing if row.state == "running" else row.note or row.state)
        if row.loss is not None:
            parts.append(f"loss {row.loss:.3f}")
        if row.ap_text:
            parts.append(row.ap_text)
        ended = self._board.count("finished", "failed", "kept", "stopped")
        parts.append(f"[{ended} of {len(self._board.rows)} done, {clock(self._board.seconds_left)} left]")
        return "  ".join(parts)


def show_end(console: Console, text: str) -> None:
    """A sweep's last words."""
    console.print(text, style="yellow", highlight=False, soft_wrap=True)
    console.file.flush()


def show_table(console: Console, title: str, header: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> None:
    """A small table under a title."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    console.print(table)
