"""Tables and the figure of benchmarks/scale.py, with the exponent by which each number grows from size to size."""

import json
import math
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Self

from scale_commands import SCENARIOS, Scenario
from scale_process import FLUSH, LOOK, Measurement

FIGURE = Path(__file__).resolve().parent.parent / "docs" / "images" / "scale.png"
BEGIN, END = "<!-- scale: begin -->\n", "<!-- scale: end -->\n"
# Above which growth is marked: one, and what a constant part and a busy machine may make of it.
LINEAR: Final = 1.1
MIB: Final = 2**20
PACKAGES = ("ray", "mlflow", "optuna", "pandas")
NO_NUMBER: Final = "–"


@dataclass(frozen=True)
class Record:
    """What was measured of one simulated sweep. ended: commands that took longer than the limit, or would have."""

    scenario: Scenario
    count: int
    measured: dict[str, Measurement]
    bytes: dict[str, int]
    ended: list[str] = field(default_factory=list)
    # Processor seconds of the imports of all commands together, which are in none of the others.
    imports: float = 0.0

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
    """A line of a table: what is measured of a command, in a unit. goal: at most so much with the largest size."""

    label: str
    command: str
    value: Callable[[Record], float]
    form: str = "{:.3g}"
    # Whether the value is of one training, so that it grows by one power less.
    each: bool = False
    goal: float | None = None
    goal_size: int = 10_000


def cpu(command: str) -> Callable[[Record], float]:
    """Return the processor seconds of a command, without its imports."""
    return lambda record: record.measured[command].cpu


def growth(command: str) -> Callable[[Record], float]:
    """Return by how many MiB the resident memory of a command rises above that of its imports."""
    return lambda record: (record.measured[command].rss_peak - record.measured[command].rss_before) / MIB


def part(command: str, name: str) -> Callable[[Record], float]:
    """Return the processor seconds of a part of a command."""
    return lambda record: record.measured[command].parts.get(name, 0.0)


def size(name: str) -> Callable[[Record], float]:
    """Return the MiB of files."""
    return lambda record: record.bytes[name] / MIB


def per_training(value: Callable[[Record], float], unit: float) -> Callable[[Record], float]:
    """Return a value for each training, in a unit."""
    return lambda record: value(record) * unit / record.count


def own_thread(record: Record) -> float:
    """Return the processor seconds of a sweep in its own thread, without its trainings."""
    return record.measured["sweep"].main_cpu


def other_threads(record: Record) -> float:
    """Return those of its other threads, above all that which writes the store; NaN where MLflow did not write it."""
    sweep = record.measured["sweep"]
    return math.nan if sweep.bulk else sweep.cpu - sweep.main_cpu


OWN_THREAD: Final = Row("whole sweep without its trainings, in the command's own thread, s", "sweep", own_thread)
CALLBACK: Final = Row("callback", "sweep", part("sweep", "callback"))
MEMORY: Final = Row("memory of the driver above its imports, MiB", "sweep", growth("sweep"))
REPORT_MEMORY: Final = Row("– memory above its imports, MiB", "report", growth("report"))
STORE: Final = Row("SQLite file, MiB", "sweep", size("store"))
ARMS: Final = (
    Row("plan, nothing stored (`dry_run=true`), s", "plan", cpu("plan"), goal=30.0),
    OWN_THREAD,
    Row("– for each training, ms", "sweep", per_training(own_thread, 1e3), each=True),
    Row(
        "– of it Tune's callback and what it calls, for each, ms", "sweep", per_training(CALLBACK.value, 1e3), each=True
    ),
    Row(
        "threads that write the store by MLflow's client, for each, ms",
        "sweep",
        per_training(other_threads, 1e3),
        each=True,
    ),
    MEMORY,
    Row("– for each training, KiB", "sweep", per_training(growth("sweep"), 1024), each=True),
    Row("the command again when all is finished, s", "resume", cpu("resume")),
    Row("state of a finished sweep (`dry_run=true explain=true`), s", "status", cpu("status")),
    Row("report (`analysis/report.py`), s", "report", cpu("report"), goal=60.0),
    REPORT_MEMORY,
    Row("plan of other seeds beside it, s", "plan others", cpu("plan others"), goal=30.0),
    Row("– with `explain=true`, s", "explain others", cpu("explain others")),
    Row("plan of the same under another name, s", "plan reuse", cpu("plan reuse"), goal=30.0),
    Row("all of it taken over under another name, s", "reuse", cpu("reuse")),
    Row("– waiting for the store at its end, s by the clock", "reuse", part("reuse", FLUSH), goal=60.0, goal_size=1000),
    STORE,
    Row("– for each training, KiB", "sweep", per_training(size("store"), 1024), each=True),
    Row("artifacts in the store, MiB", "sweep", size("artifacts")),
    Row("folders of the trainings without checkpoints, MiB", "sweep", size("trainings")),
    Row("plan.json, MiB", "sweep", size("plan")),
)
OTHERS: Final = (
    Row("plan, s", "plan", cpu("plan")),
    Row("whole sweep without its trainings, s", "sweep", cpu("sweep")),
    Row("– of it the searcher, s", "sweep", part("sweep", "searcher")),
    Row("– of it the scheduler that stops trainings early, s", "sweep", part("sweep", "scheduler")),
    Row("– of it Tune's callback and what it calls, s", "sweep", part("sweep", "callback")),
    Row("memory of the driver above its imports, MiB", "sweep", growth("sweep")),
    Row("the command again when all is finished, s", "resume", cpu("resume")),
)
TUNE: Final = (
    Row("driver's process, s", "tune", cpu("tune")),
    Row("– for each training, ms", "tune", per_training(cpu("tune"), 1e3), each=True),
    Row("memory above its imports, MiB", "tune", growth("tune")),
)
ROWS: Final[Mapping[str, Sequence[Row]]] = {
    "arms": ARMS, "rounds": OTHERS, "search": OTHERS, "race": OTHERS, "tune": TUNE,
}  # fmt: skip
TITLES: Final[Mapping[str, str]] = {
    "arms": "arms with five seeds each",
    "rounds": "arms with up to twelve seeds, until all is decided (no store)",
    "search": "`search=tpe_asha` (no store)",
    "race": "`search=random` raced over three seeds (no store)",
    "tune": "Ray Tune itself, which is not in the others: trainings that only report, on four real actors",
}


def exponents(values: Mapping[int, float]) -> list[float]:
    """Return by which power of the size a value grows from each size to the next; 1 is linear, NaN unknown."""
    points = sorted(values.items())
    return [
        math.log(after / before) / math.log(larger / smaller) if before > 0 and after > 0 else math.nan
        for (smaller, before), (larger, after) in pairwise(points)
    ]


def values_of(row: Row, records: Iterable[Record]) -> dict[int, float]:
    """Return the values of a row by size, of the sizes that have one."""
    values = {record.count: row.value(record) for record in records if row.command in record.measured}
    return {count: value for count, value in values.items() if not math.isnan(value)}


def is_steep(row: Row, values: Mapping[int, float]) -> bool:
    """Return whether a value grows faster than linearly from the size before the last to the last."""
    last = exponents(values)[-1:]
    return any(exponent + row.each > LINEAR for exponent in last)


def misses_goal(row: Row, values: Mapping[int, float]) -> bool:
    """Return whether a value is above its goal with the size that this is for."""
    return row.goal is not None and values.get(row.goal_size, 0.0) > row.goal


def make_table(rows: Sequence[Row], records: Sequence[Record]) -> str:
    """Return the table of one scenario; what grows faster than linearly or misses its goal is bold."""
    sizes = [record.count for record in records]
    lines = [
        f"| | {' | '.join(f'{count:,}' for count in sizes)} | grows with the power | goal |",
        "|---|" + "---|" * (len(sizes) + 2),
    ]
    for row in rows:
        values = values_of(row, records)
        if not values:
            continue
        ended = {record.count for record in records if row.command in record.ended}
        cells = [
            row.form.format(values[count]) if count in values else "over the limit" if count in ended else NO_NUMBER
            for count in sizes
        ]
        powers = ", ".join(f"{exponent + row.each:.2f}" for exponent in exponents(values)) or NO_NUMBER
        powers = f"**{powers}**" if is_steep(row, values) else powers
        goal = NO_NUMBER if row.goal is None else f"{row.goal:g} with {row.goal_size:,}"
        goal = f"**{goal}: missed**" if misses_goal(row, values) else goal
        lines.append(f"| {row.label} | {' | '.join(cells)} | {powers} | {goal} |")
    return "\n".join(lines) + "\n"


def describe(name: str, measurement: Measurement) -> str:
    """Return what a command took, in a line."""
    counts = ", ".join(f"{value} {key}" for key, value in measurement.counts.items() if value)
    return (
        f"{name}: {measurement.cpu:.1f} s of the processor ({measurement.main_cpu:.1f} s in its own thread), "
        f"{measurement.wall:.1f} s by the clock, {measurement.rss_peak / MIB:.0f} MiB at most"
        f"{f'; {counts}' if counts else ''}"
    )


def make_text(records: Sequence[Record], disk: Any, slots: int) -> str:
    """Return what stands between the marks of the document."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    imports = max((record.imports for record in records), default=0.0)
    packages = f"Python {platform.python_version()}, {versions}"
    head = f"{_processor()}, {packages}; processor time, {slots:,} slots. The imports took {imports:.1f} s more.\n"
    parts = [head]
    for scenario in SCENARIOS:
        own = [record for record in records if record.scenario == scenario]
        if own:
            table = make_table(ROWS[scenario], own)
            parts.append(f"{TITLES[scenario]}:\n\n{table}{_describe_slots(own)}")
    if disk is not None:
        parts.append(make_disk_table(disk))
    return "\n".join(parts)


def _processor() -> str:
    from orchestration.experiment.provenance import hardware

    return f"Measured on {hardware('cpu')}"


def _describe_slots(records: Sequence[Record]) -> str:
    """Return what the watchdog takes, and what failed, in lines below a table."""
    last = records[-1].measured.get("sweep")
    if last is None or "running at once" not in last.counts:
        return ""
    count, look = last.counts["running at once"], last.parts.get(LOOK, 0.0)
    ends = ("lost", "preempted", "error", "memory", "diverged", "attempts again", "stopped early")
    failed = ", ".join(f"{last.counts[key]:,} {key}" for key in ends if last.counts.get(key))
    return (
        f"\nOf {records[-1].count:,}: {failed or 'nothing failed'}; {count:,} at once, at which the watchdog looks in "
        f"{1000 * look:.0f} ms, once a second.\n"
    )


def make_disk_table(disk: Mapping[str, Any]) -> str:
    """Return what real trainings leave by kind of file; see scale_disk.measure_kept."""
    trainings, target = disk["trainings"], disk["target"]
    lines = [
        f"What trainings of {disk['steps']} steps leave, {trainings[0]} and {trainings[1]} of them, and so {target}:\n",
        f"| kind of file | {trainings[0]}, MB | {trainings[1]}, MB | a training, KB | {target}, MB |",
        "|---|---|---|---|---|",
    ]
    for kind, (few, many) in sorted(disk["bytes"].items(), key=lambda item: -item[1][1]):
        each = (many - few) / (trainings[1] - trainings[0])
        whole = many + each * (target - trainings[1])
        lines.append(f"| {kind} | {few / 1e6:.2f} | {many / 1e6:.2f} | {each / 1e3:.1f} | {whole / 1e6:.1f} |")
    few, many = (sum(pair[index] for pair in disk["bytes"].values()) for index in (0, 1))
    each = (many - few) / (trainings[1] - trainings[0])
    whole = many + each * (target - trainings[1])
    lines.append(f"| all | {few / 1e6:.2f} | {many / 1e6:.2f} | {each / 1e3:.1f} | {whole / 1e6:.1f} |")
    return "\n".join(lines) + "\n"


def draw(records: Sequence[Record], path: Path) -> None:
    """Plot what grows, each beside a line of slope one."""
    from matplotlib.figure import Figure

    arms = [record for record in records if record.scenario == "arms"]
    figure = Figure(figsize=(9.6, 6.0), layout="constrained")
    commands = [row for row in ARMS if row.command != "sweep" and not row.label.startswith("– memory")]
    panels: list[tuple[str, Sequence[Row]]] = [
        ("commands, processor s", commands),
        ("a sweep's driver, processor s", [OWN_THREAD, CALLBACK, Row("threads of the store", "sweep", other_threads)]),
        ("memory above imports, MiB", [MEMORY, Row("report", "report", REPORT_MEMORY.value)]),
        (
            "files, MiB",
            [row for row in ARMS if row.label.endswith("MiB") and row.command == "sweep" and row is not MEMORY],
        ),
    ]
    for index, (title, rows) in enumerate(panels):
        axes = figure.add_subplot(2, 3, index + 1)
        _plot(axes, title, {_short(row): values_of(row, arms) for row in rows})
    by_scenario = {TITLES[name].split(" (")[0].replace("`", ""): name for name in ("rounds", "search", "race")}
    for index, (title, row) in enumerate(
        (("whole sweep, processor s", OTHERS[1]), ("searcher, processor s", OTHERS[2]))
    ):
        axes = figure.add_subplot(2, 3, len(panels) + index + 1)
        lines = {
            label: values_of(row, [record for record in records if record.scenario == name])
            for label, name in by_scenario.items()
        }
        _plot(axes, title, lines)
    figure.savefig(path, dpi=110)


def _short(row: Row) -> str:
    text = row.label.removeprefix("– ").split(" (")[0]
    return text.removesuffix(", s").removesuffix(", MiB").replace("`", "")


def _plot(axes: Any, title: str, lines: Mapping[str, Mapping[int, float]]) -> None:
    """Plot lines on logarithmic axes, with a dotted one that grows linearly from the lowest first point."""
    shown = {label: values for label, values in lines.items() if any(value > 0 for value in values.values())}
    for label, values in shown.items():
        axes.plot(list(values), list(values.values()), marker="o", markersize=4, label=label)
    starts = [next(iter(sorted(values.items()))) for values in shown.values()]
    most = max((count for values in shown.values() for count in values), default=0)
    if starts:
        count, value = min(starts, key=lambda start: start[1])
        axes.plot([count, most], [value, value * most / count], color="0.6", linestyle=":", label="linear")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("trainings")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=6)
