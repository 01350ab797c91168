"""View of a sweep's progress: a live table on a terminal, plain lines elsewhere."""

from collections.abc import Sequence
from typing import Protocol

from rich.console import Console, Group
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
BAR_WIDTH = 24
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

    def _render(self) -> Group:
        progress = self._progress
        table = Table.grid(padding=(0, 2))
        shown = trials_that_fit(progress.trials, self._console.height - LINES_KEPT_FREE)
        for trial in shown:
            table.add_row(*_cells(trial))
        if hidden := progress.totals.trainings - len(shown):
            table.add_row(Text(f"and {hidden} more", style="dim"), "", "", "", "")
        totals = progress.totals
        left = format_duration(progress.seconds_left) + " left" if totals.ended < totals.trainings else ""
        table.add_row("", "", "", "", "")
        table.add_row(
            Text(f"all: {totals.ended} of {totals.trainings}", style="bold"),
            ProgressBar(total=max(totals.steps, 1), completed=totals.steps_done, width=BAR_WIDTH),
            "",
            "",
            Text(left, style="bold"),
        )
        return Group(table)


def trials_that_fit(trials: Sequence[TrialProgress], lines: int) -> list[TrialProgress]:
    """Return as many trials as there are lines, in order; those that run or failed before those that wait or ended."""
    first = {"running": 0, "failed": 1, "followed": 2, "waiting": 2}
    chosen = sorted(trials, key=lambda trial: first.get(trial.state, 3))[: max(lines, 1)]
    return sorted(chosen, key=lambda trial: trial.index)


def _cells(trial: TrialProgress) -> tuple[Text, ProgressBar, str, str, Text]:
    done = trial.total_steps if trial.state in ("finished", "kept") else trial.step
    loss = f"loss {trial.loss:.3f}" if trial.loss is not None else ""
    if trial.state == "running":
        end = Text(f"{format_duration(trial.seconds_left)} left" if trial.step else trial.position)
    else:
        end = Text(trial.note or trial.state, style=STYLES[trial.state])
    bar = ProgressBar(max(trial.total_steps, 1), done, BAR_WIDTH)
    return Text(trial.label, style=STYLES[trial.state]), bar, loss, trial.ap_text, end


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
