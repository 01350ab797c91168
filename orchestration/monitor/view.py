"""Show sweeps to people: a table of all, or one with its trainings."""

import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console, Group, RenderableType
from rich.text import Text

from orchestration.cli.console import format_count, format_duration
from orchestration.cli.status_records import BestRow, BudgetRecord, SweepRow, SweepsEvent, SweepStatusEvent, TrainingRow
from orchestration.monitor.columns import Column, make_table, plain_lines

STATES = {"dead": "dead driver"}
STYLES = {
    "planning": "",
    "running": "",
    "finished": "green",
    "kept": "green",
    "stopped": "yellow",
    "dead": "red",
    "failed": "red",
    "interrupted": "red",
    "waiting": "dim",
    "followed": "dim",
    "later": "dim",
}
REASON_LETTERS = 160


def show(console: Console, event: SweepsEvent | SweepStatusEvent) -> None:
    """Print what an event holds: a table that fits a terminal, else plain lines."""
    if console.is_terminal:
        console.print(render(event, console.width, console.height))
        return
    for line in _lines(event):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def render(event: SweepsEvent | SweepStatusEvent, width: int, height: int | None = None) -> RenderableType:
    """Return what a terminal shows of an event; height: of the terminal, in which all of it has to fit."""
    head, columns, tail = _parts(event)
    rows = event.sweeps if isinstance(event, SweepsEvent) else event.trainings
    chosen = list(range(len(rows)))
    if height is not None:
        chosen = _rows_that_fit(rows, height - len(head) - len(tail) - 4)
    shown = [Column(each.title, tuple(each.cells[i] for i in chosen), each.weight, each.is_number) for each in columns]
    table = make_table(shown, [STYLES[rows[i].state] for i in chosen], width) if rows else Text("nothing yet")
    hidden = len(rows) - len(chosen)
    more = [Text(f"and {hidden} more", style="dim")] if hidden else []
    notes = [Text(line) for line in tail]
    return Group(*(Text(line, style="bold") for line in head[:1]), *map(Text, head[1:]), table, *more, *notes)


def _rows_that_fit(rows: Sequence[SweepRow | TrainingRow], lines: int) -> list[int]:
    """Return the positions of as many rows as there are lines; first what runs or went wrong, then what waits."""
    order = {
        "running": 0,
        "planning": 0,
        "dead": 1,
        "failed": 1,
        "interrupted": 1,
        "stopped": 1,
        "followed": 2,
        "waiting": 2,
    }
    chosen = sorted(range(len(rows)), key=lambda i: (order.get(rows[i].state, 3), i))[: max(lines, 1)]
    return sorted(chosen)


def _lines(event: SweepsEvent | SweepStatusEvent) -> list[str]:
    head, columns, tail = _parts(event)
    empty = not (event.sweeps if isinstance(event, SweepsEvent) else event.trainings)
    return [*head, *(["nothing yet"] if empty else plain_lines(columns)), *tail]


def _parts(event: SweepsEvent | SweepStatusEvent) -> tuple[list[str], list[Column], list[str]]:
    """Return the lines above the table, the table, and the lines below it, without control characters.

    Other users may have written what is read, and a terminal takes some characters for commands.
    """
    head, columns, tail = _raw_parts(event)
    cleaned = [replace(column, cells=tuple(map(_printable, column.cells))) for column in columns]
    return [*map(_printable, head)], cleaned, [*map(_printable, tail)]


def _printable(text: str) -> str:
    return "".join("?" if unicodedata.category(letter) == "Cc" else letter for letter in text)


def _raw_parts(event: SweepsEvent | SweepStatusEvent) -> tuple[list[str], list[Column], list[str]]:
    if isinstance(event, SweepsEvent):
        head = [f"{format_count(len(event.sweeps), 'sweep')} in {event.output}"]
        named = [f"note: {row.name}: {note}" for row in event.sweeps for note in row.notes]
        return head, _sweep_columns(event.sweeps), [*named, *(f"note: {note}" for note in event.notes)]
    notes = [f"note: {note}" for note in event.sweep.notes]
    return _head(event), _training_columns(event), [*_reasons(event.trainings), *notes]


def _sweep_columns(rows: Sequence[SweepRow]) -> list[Column]:
    def column(title: str, cells: list[str], weight: int | None = None, *, is_number: bool = True) -> Column:
        return Column(title, tuple(cells), weight, is_number)

    return [
        column("name", [row.name for row in rows], is_number=False),
        column("experiment", ["" if row.experiment == row.name else row.experiment or "" for row in rows], 1,
               is_number=False),
        column("state", [STATES.get(row.state, row.state) for row in rows], is_number=False),
        column("done", [_count(row.done) for row in rows], 9),
        column("running", [_count(row.running) for row in rows], 7),
        column("failed", [_count(row.failed) for row in rows], 8),
        column("left", [_count(row.left) for row in rows], 6),
        column("since start", [_duration(row.seconds) for row in rows], 4),
        column("still", [_duration(row.seconds_left) for row in rows], 5),
        column("host", [row.host or "" for row in rows], 3, is_number=False),
        column("sign of life", [_ago(row.silent_seconds) for row in rows], 2),
    ]  # fmt: skip


def _training_columns(event: SweepStatusEvent) -> list[Column]:
    rows = event.trainings
    metric = "" if event.best is None else event.best.metric

    def column(title: str, cells: list[str], weight: int | None = None, *, is_number: bool = True) -> Column:
        return Column(title, tuple(cells), weight, is_number)

    return [
        column("training", [row.label for row in rows], is_number=False),
        column("state", [row.state for row in rows], is_number=False),
        column("step", [_position(row) for row in rows], 10),
        column("loss", ["" if row.loss is None else f"{row.loss:.3f}" for row in rows], 7),
        column(metric or "value", [_values(row) for row in rows], 8),
        column("per second", [_speed(row) for row in rows], 5),
        column("where", [_where(row) for row in rows], 3, is_number=False),
        column("took", [_duration(row.seconds) for row in rows], 4),
        column("still", [_duration(row.seconds_left) for row in rows], 9),
        column("attempt", [str(row.attempt) if row.attempt > 1 else "" for row in rows], 2),
        column("sign of life", [_ago(row.silent_seconds) for row in rows], 1),
    ]  # fmt: skip


def _head(event: SweepStatusEvent) -> list[str]:
    """Describe the sweep: its state, how far it is, the best so far, hours, the store."""
    sweep = event.sweep
    parts = [STATES.get(sweep.state, sweep.state)]
    if sweep.done is not None:
        counts = {"done": sweep.done, "running": sweep.running, "failed": sweep.failed, "left": sweep.left}
        parts.append(", ".join(f"{count} {word}" for word, count in counts.items() if count or word == "done"))
    if sweep.seconds is not None:
        parts.append(f"{format_duration(sweep.seconds)} since its start")
    if sweep.seconds_left is not None:
        parts.append(f"about {format_duration(sweep.seconds_left)} still")
    if sweep.exit_code is not None:
        parts.append(f"exit code {sweep.exit_code}")
    lines = [f"{sweep.name}: {'; '.join(parts)}"]
    if sweep.host is not None:
        process = "" if sweep.pid is None else f", process {sweep.pid}"
        seen = "" if sweep.silent_seconds is None else f", sign of life {_ago(sweep.silent_seconds)}"
        lines.append(f"driver on {sweep.host}{process}{seen}; folder {sweep.folder}")
    if event.total_steps:
        retries = f"; {format_count(event.retries, 'attempt')} tried again" if event.retries else ""
        lines.append(f"{event.steps} of {event.total_steps} steps{_hours(event.budget)}{retries}")
    if event.best is not None:
        lines.append(_best(event.best))
    if event.store is not None:
        lines.append(f"the tracking store takes nothing, for {_duration(event.store_lag_seconds)}: {event.store}")
    return lines


def _best(best: BestRow) -> str:
    arm = f"{best.arm} · " if best.arm else ""
    found = f"{best.value:.4g}, {arm}seed {best.seed} at step {best.step}"
    return f"best {best.metric} of all evaluations so far: {found} (results are in the report)"


def _hours(budget: Sequence[BudgetRecord]) -> str:
    texts = []
    for hours in budget:
        if hours.spent or hours.limit is not None:
            limit = "" if hours.limit is None else f" of {hours.limit:g}"
            texts.append(f"{hours.spent:.3g}{limit} {hours.name.replace('_', ' ')}")
    return f"; {', '.join(texts)}" if texts else ""


def _reasons(rows: Sequence[TrainingRow]) -> list[str]:
    return [f"{row.label}: {row.state}: {_shortened(row.reason)}" for row in rows if row.reason]


def _shortened(text: str) -> str:
    return text if len(text) <= REASON_LETTERS else f"{text[: REASON_LETTERS - 3]}..."


def _position(row: TrainingRow) -> str:
    if row.total_steps:
        return f"{row.step} of {row.total_steps}"
    return str(row.step) if row.step else ""


def _values(row: TrainingRow) -> str:
    return " / ".join(f"{value:.3f}" for value in row.values.values() if value is not None)


def _speed(row: TrainingRow) -> str:
    return "" if row.steps_per_second is None else f"{row.steps_per_second:.3g}"


def _where(row: TrainingRow) -> str:
    texts = [f"{worker.host}:{worker.gpus}" if worker.gpus else worker.host for worker in row.workers]
    return ", ".join(dict.fromkeys(texts))


def _count(count: int | None) -> str:
    return "?" if count is None else str(count)


def _duration(seconds: float | None) -> str:
    return "" if seconds is None else format_duration(seconds)


def _ago(seconds: float | None) -> str:
    return "" if seconds is None else f"{format_duration(seconds)} ago"
