"""Tables of what was measured, with the power of the number of trainings by which each value grows."""

import json
import math
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import pairwise
from typing import Final, Self

from scale.measured_process import Measurement
from scale.sweeps import SCENARIOS, Scenario

# Above which growth is marked: one, and what a constant part and a busy machine may make of it.
LINEAR: Final = 1.1
MIB: Final = 2**20
PACKAGES: Final = ("ray", "mlflow", "optuna", "pandas")
NO_NUMBER: Final = "–"
# Of attempts, as they are counted.
ENDS: Final = ("lost", "preempted", "error", "memory", "diverged", "attempts again", "stopped early")


@dataclass(frozen=True)
class Record:
    """What was measured of one simulated sweep."""

    scenario: Scenario
    count: int
    measured: dict[str, Measurement]
    # Kind of file -> bytes after the sweep.
    bytes: dict[str, int]
    # Commands that took longer than the limit, or would have.
    ended: list[str] = field(default_factory=list)
    # Whether the store was written without MLflow's client.
    direct: bool = False

    def to_json(self) -> str:
        """Return the record as text."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a record that `to_json` wrote."""
        values = json.loads(text)
        measured = {name: Measurement(**each) for name, each in values["measured"].items()}
        return cls(**{**values, "measured": measured})


@dataclass(frozen=True)
class Row:
    """A line of a table: what is measured of a command; NaN where it was not. goal: at most so much with 10,000."""

    label: str
    command: str
    value: Callable[[Record], float]
    # Whether the value is of one training, so that it grows by one power less.
    each: bool = False
    goal: float | None = None

    def values(self, records: Iterable[Record]) -> dict[int, float]:
        """Return the values by number of trainings, where there are any."""
        values = {record.count: self.value(record) for record in records if self.command in record.measured}
        return {count: value for count, value in values.items() if not math.isnan(value)}

    def powers(self, values: Mapping[int, float]) -> list[float]:
        """Return by which power of the number of trainings all grows, from each number to the next; 1 is linear."""
        return [
            math.log(after / before) / math.log(larger / smaller) + self.each if min(before, after) > 0 else math.nan
            for (smaller, before), (larger, after) in pairwise(sorted(values.items()))
        ]

    def is_steep(self, values: Mapping[int, float]) -> bool:
        """Return whether it grows faster than linearly at the end."""
        return any(power > LINEAR for power in self.powers(values)[-1:])

    def misses_goal(self, values: Mapping[int, float]) -> bool:
        """Return whether a value is above its goal."""
        return self.goal is not None and values.get(10_000, 0.0) > self.goal


def cpu_row(label: str, command: str, goal: float | None = None) -> Row:
    """Return the row of the processor seconds of a command, without its imports."""
    return Row(f"{label}, s", command, lambda record: record.measured[command].cpu, goal=goal)


def memory_row(label: str, command: str) -> Row:
    """Return the row of how far the resident memory of a command rises above that of its imports."""
    return Row(
        f"{label}, MiB",
        command,
        lambda record: (record.measured[command].rss_peak - record.measured[command].rss_before) / MIB,
    )


def part_row(label: str, part: str) -> Row:
    """Return the row of the processor time of a part of a sweep, for each training."""
    return Row(label, "sweep", lambda record: _each(record, record.measured["sweep"].parts.get(part)), each=True)


def files_row(label: str, kind: str) -> Row:
    """Return the row of the bytes of a kind of file."""
    return Row(f"{label}, MiB", "sweep", lambda record: record.bytes.get(kind, math.nan) / MIB)


def _each(record: Record, seconds: float | None) -> float:
    return math.nan if seconds is None else 1e3 * seconds / record.count


def _other_threads(record: Record) -> float:
    """Return what the threads that write the store take; NaN where MLflow did not write it."""
    sweep = record.measured["sweep"]
    return math.nan if record.direct else _each(record, sweep.cpu - sweep.main_cpu)


DRIVER: Final = Row(
    "driver, ms a training", "sweep", lambda record: _each(record, record.measured["sweep"].main_cpu), each=True
)
STORE_THREADS: Final = Row("threads that write the store, ms a training", "sweep", _other_threads, each=True)
SEARCHER: Final = part_row("– of it the searcher, with the leases of trainings, ms", "searcher")
CALLBACK: Final = part_row("– of it Tune's callback: recorder, progress, status, ms", "callback")
MEMORY: Final = memory_row("driver's memory above its imports", "sweep")
COMMANDS: Final = (
    cpu_row("plan (`dry_run=true`)", "plan", goal=30.0),
    cpu_row("explain (`dry_run=true explain=true`)", "explain", goal=30.0),
    cpu_row("resume: the command again when all is finished", "resume"),
    cpu_row("how far it is (`orchestration/status.py`)", "status"),
    cpu_row("explain of the finished sweep", "explain finished"),
    cpu_row("explain of as many other seeds beside it", "explain others", goal=30.0),
    cpu_row("plan of the same under another name, all of it reused", "plan again", goal=30.0),
    cpu_row("report (`analysis/report.py`)", "report", goal=60.0),
)
FILES: Final = (
    files_row("tracking store (SQLite)", "store"),
    files_row("artifacts in the store", "artifacts"),
    files_row("folders of the trainings without checkpoints", "trainings"),
    files_row("`plan.json`", "plan"),
    files_row("leases", "leases"),
)
ARMS: Final = (
    *COMMANDS, memory_row("– its memory above its imports", "report"), DRIVER, SEARCHER, CALLBACK, STORE_THREADS,
    MEMORY, *FILES,
)  # fmt: skip
OTHERS: Final = (
    cpu_row("plan", "plan"),
    DRIVER,
    SEARCHER,
    part_row("– of it the scheduler that stops trainings early, ms", "scheduler"),
    CALLBACK,
    MEMORY,
    cpu_row("resume", "resume"),
)
TUNE: Final = (
    Row("driver, ms a training", "tune", lambda record: _each(record, record.measured["tune"].cpu), each=True),
    memory_row("driver's memory above its imports", "tune"),
)
ROWS: Final[Mapping[Scenario, Sequence[Row]]] = {
    "arms": ARMS, "rounds": OTHERS, "search": OTHERS, "race": OTHERS, "tune": TUNE,
}  # fmt: skip
TITLES: Final[Mapping[Scenario, str]] = {
    "arms": "arms with five seeds each",
    "rounds": "arms with up to twelve seeds, until all is decided (no store)",
    "search": "`search=tpe_asha` (no store)",
    "race": "`search=random`, raced over three seeds (no store)",
    "tune": "Ray Tune itself, which is not in the others: trainings that only report, on four real actors",
}


def periodic_rows(record: Record) -> list[Row]:
    """Return a row for each thing that a command repeats: the mean time of one call."""
    sweep = record.measured.get("sweep", Measurement())
    return [_periodic_row(part) for part in sweep.parts if "every" in part]


def _periodic_row(part: str) -> Row:
    def milliseconds(record: Record) -> float:
        sweep = record.measured["sweep"]
        return 1e3 * sweep.parts[part] / sweep.counts[part] if part in sweep.parts else math.nan

    return Row(f"{part}: ms a call", "sweep", milliseconds)


def make_table(rows: Iterable[Row], records: Sequence[Record]) -> str:
    """Return the table of one scenario; what grows faster than linearly or misses its goal is bold."""
    lines = [
        f"| | {' | '.join(f'{record.count:,}' for record in records)} | grows with the power | goal at 10,000 |",
        "|---|" + "---|" * (len(records) + 2),
    ]
    for row in rows:
        values = row.values(records)
        if not values:
            continue
        powers = ", ".join(f"{power:.2f}" for power in row.powers(values)) or NO_NUMBER
        powers = f"**{powers}**" if row.is_steep(values) else powers
        goal = NO_NUMBER if row.goal is None else f"{row.goal:g}"
        goal = f"**{goal}: missed**" if row.misses_goal(values) else goal
        cells = " | ".join(_cell(row, values, record) for record in records)
        lines.append(f"| {row.label} | {cells} | {powers} | {goal} |")
    return "\n".join(lines) + "\n"


def _cell(row: Row, values: Mapping[int, float], record: Record) -> str:
    if record.count in values:
        return f"{values[record.count]:.3g}"
    return "over the limit" if row.command in record.ended else NO_NUMBER


def describe(name: str, measurement: Measurement) -> str:
    """Return what a command took, in a line."""
    counts = ", ".join(f"{value} {key}" for key, value in measurement.counts.items() if value)
    return (
        f"{name}: {measurement.cpu:.1f} s of the processor ({measurement.main_cpu:.1f} s in its own thread), "
        f"{measurement.wall:.1f} s by the clock, {measurement.rss_peak / MIB:.0f} MiB at most"
        f"{f'; {counts}' if counts else ''}"
    )


def make_text(records: Sequence[Record]) -> str:
    """Return the tables of all scenarios."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    parts = [f"Python {platform.python_version()}, {versions}; processor time without imports.\n"]
    for scenario in SCENARIOS:
        own = [record for record in records if record.scenario == scenario]
        if own:
            rows = [*ROWS[scenario], *periodic_rows(own[-1])]
            parts.append(f"{TITLES[scenario]}:\n\n{make_table(rows, own)}{describe_ends(own[-1])}")
    return "\n".join(parts)


def describe_ends(record: Record) -> str:
    """Return how attempts ended, in a line below a table."""
    sweep = record.measured.get("sweep")
    if sweep is None:
        return ""
    counted = ", ".join(f"{sweep.counts[key]:,} {key}" for key in ENDS if sweep.counts.get(key))
    return f"\nOf {record.count:,}: {counted or 'nothing failed'}; at most {sweep.counts['at once']:,} at once.\n"
