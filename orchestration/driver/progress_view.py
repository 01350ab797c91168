"""View of a sweep's progress: a live table on a terminal, plain lines elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestration.cli.console import format_duration, show_last_line
from orchestration.driver.events import TrialEvent
from orchestration.driver.progress import SweepProgress, TrialProgress

STYLES = {
    "finished": "green",
    "kept": "green",
    "failed": "red",
    "stopped": "yellow",
    "running": "",
    "followed": "dim",
    "waiting": "dim",
}
# Columns of a bar, in terminals of at least so many columns; narrower ones have none.
BAR_WIDTHS = ((100, 24), (72, 10))
# The least that is kept for a loss, metrics and a state, so that columns stay where they are as these come.
CELL_WIDTHS = (10, 8, 10)
LEAST_LABEL = 16
PADDING = 2
# Between the arms and the seed of a label.
SEPARATOR = " · "
# Plain lines are written when a training passes each of these parts of its steps, unless its last line is this young.
QUARTERS = (0.25, 0.5, 0.75)
QUIET_SECONDS = 5.0
# Of a terminal's height: the overall bar, the number of hidden rows, and a spare line.
LINES_KEPT_FREE = 4


class ProgressView(Protocol):
    """Shows progress while a block runs."""

    def __enter__(self) -> "ProgressView": ...

    def __exit__(self, *reason: object) -> None: ...

    def handle(self, event: TrialEvent) -> None:
        """Show a change of the training that an event is about, after the progress has handled it."""
        ...

    def end(self, text: str) -> None:
        """Print a last line and show no more."""
        ...


def make_view(progress: SweepProgress, console: Console) -> ProgressView:
    """Return a live view where the console is a terminal, else one of plain lines."""
    return LiveView(progress, console) if console.is_terminal else PlainView(progress, console)


class LiveView:
    """A table that is drawn anew a few times a second."""

    def __init__(self, progress: SweepProgress, console: Console) -> None:
        self._progress = progress
        self._console = console
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4)

    def __enter__(self) -> "LiveView":
        self._live.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._live.stop()

    def handle(self, event: TrialEvent) -> None:
        """Do nothing: the next drawing shows it."""

    def end(self, text: str) -> None:
        """Leave the table as it is, and the terminal as it was."""
        self._live.stop()
        show_last_line(self._console, text)

    def _render(self) -> Table:
        progress = self._progress
        shown = trials_that_fit(progress.trials, self._console.height - LINES_KEPT_FREE)
        rows = list(map(_row, shown))
        totals = progress.totals
        if hidden := totals.trainings - len(shown):
            rows.append(Row(Text(f"and {hidden} more", style="dim")))
        left = format_duration(progress.seconds_left) + " left" if totals.ended < totals.trainings else ""
        steps = (totals.steps_done, max(totals.steps, 1))
        rows.append(Row(Text()))
        rows.append(
            Row(Text(f"all: {totals.ended} of {totals.trainings}", style="bold"), steps, Text(left, style="bold"))
        )
        return draw_table(rows, self._console.width)


@dataclass(frozen=True)
class Row:
    """A line of the table. steps: those done and of all, for a bar."""

    label: Text
    steps: tuple[int, int] | None = None
    end: Text = field(default_factory=Text)
    loss: str = ""
    metrics: str = ""


def _row(trial: TrialProgress) -> Row:
    done = trial.total_steps if trial.state in ("finished", "kept") else trial.step
    if trial.state == "running":
        end = Text(f"{format_duration(trial.seconds_left)} left" if trial.step else trial.position)
    else:
        end = Text(trial.note or trial.state, style=STYLES[trial.state])
    loss = f"loss {trial.loss:.3f}" if trial.loss is not None else ""
    label = Text(trial.label, style=STYLES[trial.state])
    return Row(label, (done, max(trial.total_steps, 1)), end, loss, trial.ap_text)


def draw_table(rows: Sequence[Row], columns: int) -> Table:
    """Return rows as a table of one line each; in a narrow terminal labels are shortened and bars left out."""
    bar = next((width for least, width in BAR_WIDTHS if columns >= least), 0)
    texts = [(row.loss, row.metrics, row.end.plain) for row in rows]
    others = [
        max(least, *map(cell_len, column)) for least, column in zip(CELL_WIDTHS, zip(*texts, strict=True), strict=True)
    ]
    taken = sum(others) + len(others) * PADDING + (bar + PADDING if bar else 0)
    room = max(columns - taken, LEAST_LABEL)
    table = Table.grid(padding=(0, PADDING, 0, 0))
    table.add_column(no_wrap=True, min_width=min(room, max(row.label.cell_len for row in rows)))
    for _ in range(4 if bar else 3):
        table.add_column(no_wrap=True, overflow="ellipsis")
    for row in rows:
        drawn = "" if row.steps is None else ProgressBar(row.steps[1], row.steps[0], bar)
        cells = (drawn, row.loss, row.metrics, row.end) if bar else (row.loss, row.metrics, row.end)
        table.add_row(shorten(row.label, room), *cells)
    return table


def shorten(label: Text, width: int) -> Text:
    """Return a label of at most so many columns, with its last part, such as the seed, as it is."""
    if label.cell_len <= width:
        return label
    head, separator, tail = label.plain.rpartition(SEPARATOR)
    if not separator or cell_len(tail) + len(SEPARATOR) >= width:
        head, separator, tail = label.plain, "", ""
    first = Text(head, style=label.style)
    first.truncate(width - cell_len(separator + tail), overflow="ellipsis")
    return first.append(separator + tail)


def trials_that_fit(trials: Sequence[TrialProgress], lines: int) -> list[TrialProgress]:
    """Return as many trials as there are lines, in order; those that run or failed before those that wait or ended."""
    first = {"running": 0, "failed": 1, "followed": 2, "waiting": 2}
    chosen = sorted(trials, key=lambda trial: first.get(trial.state, 3))[: max(lines, 1)]
    return sorted(chosen, key=lambda trial: trial.index)


class PlainView:
    """A line at a training's start and end, and in a long one at each quarter, or round of a search for ranges."""

    def __init__(self, progress: SweepProgress, console: Console) -> None:
        self._progress = progress
        self._console = console
        # By index: what the last line showed, and after how many seconds of its attempt.
        self._shown: dict[int, tuple[tuple[object, ...], float]] = {}

    def __enter__(self) -> "PlainView":
        return self

    def __exit__(self, *reason: object) -> None:
        return None

    def end(self, text: str) -> None:
        """Print a last line."""
        show_last_line(self._console, text)

    def handle(self, event: TrialEvent) -> None:
        """Print a line where the state is new, or the quarter some seconds after the last line."""
        self.show(self._progress.all_trials[event.index])

    def show(self, trial: TrialProgress) -> None:
        """Print a line of a training, where there is something new."""
        quarter = sum(trial.step >= part * trial.total_steps for part in QUARTERS) if trial.step else 0
        # Of one that is followed, who trains it may change.
        going_on = {"running": (quarter, trial.search), "followed": (quarter, trial.note)}
        new = (trial.state, *going_on.get(trial.state, ()))
        shown, seconds = self._shown.get(trial.index, (("waiting",), 0.0))
        # A new attempt counts its seconds from zero; after the last step the end follows at once.
        early = 0 <= trial.seconds - seconds < QUIET_SECONDS or trial.step == trial.total_steps
        if shown == new or (shown[0] == trial.state == "running" and early):
            return
        self._shown[trial.index] = (new, trial.seconds)
        self._console.print(self._line(trial), highlight=False, soft_wrap=True, markup=False)

    def _line(self, trial: TrialProgress) -> str:
        parts = [f"{trial.label}:"]
        parts.append(trial.position if trial.state == "running" else trial.note or trial.state)
        if trial.state == "followed":
            parts.append(trial.position)
        if trial.loss is not None:
            parts.append(f"loss {trial.loss:.3f}")
        if trial.ap_text:
            parts.append(trial.ap_text)
        progress = self._progress
        totals = progress.totals
        left = format_duration(progress.seconds_left)
        parts.append(f"[{totals.ended} of {totals.trainings} done, {left} left]")
        return "  ".join(parts)
