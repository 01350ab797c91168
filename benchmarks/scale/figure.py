"""The figure of what grows with the trainings of a sweep."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from scale.sweeps import Scenario
from scale.tables import COMMANDS, DRIVER, FILES, MEMORY, SEARCHER, STORE_THREADS, Record, Row

REPORT_MEMORY: Final = "report's memory above its imports, MiB"
PANELS: Final[Sequence[tuple[str, Sequence[Row]]]] = (
    ("commands, processor s", COMMANDS),
    ("a sweep, ms a training", (DRIVER, SEARCHER, STORE_THREADS)),
    ("driver's memory, MiB", (MEMORY,)),
    ("files, MiB", FILES),
)
# Milliseconds a training from which on an axis is logarithmic.
LARGE: Final = 50
SCENARIOS: Final[Mapping[str, Scenario]] = {"rounds of seeds": "rounds", "TPE": "search", "race": "race"}


def draw(records: Sequence[Record], path: Path) -> None:
    """Plot what grows, each panel with a dotted line that grows linearly."""
    from matplotlib.figure import Figure

    arms = [record for record in records if record.scenario == "arms"]
    figure = Figure(figsize=(10.2, 7.6), layout="constrained")
    for index, (title, rows) in enumerate(PANELS):
        _plot(figure.add_subplot(2, 3, index + 1), title, {_short(row.label): row.values(arms) for row in rows})
    for index, row in enumerate((DRIVER, SEARCHER)):
        title = f"{('driver', 'searcher')[index]}, ms a training"
        lines = {
            label: row.values(record for record in records if record.scenario == scenario)
            for label, scenario in SCENARIOS.items()
        }
        _plot(figure.add_subplot(2, 3, len(PANELS) + index + 1), title, lines)
    figure.savefig(path, metadata={"Date": None})


def _short(label: str) -> str:
    return label.removeprefix("– ").split(" (")[0].split(", ")[0].replace("`", "")


def _plot(axes: Any, title: str, lines: Mapping[str, Mapping[int, float]]) -> None:
    shown = {label: values for label, values in lines.items() if any(value > 0 for value in values.values())}
    for label, values in shown.items():
        axes.plot(list(values), list(values.values()), marker="o", markersize=4, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("trainings")
    axes.grid(alpha=0.25)
    if not shown:
        return
    if "a training" not in title:
        count, value = min((min(values.items()) for values in shown.values()), key=lambda point: point[1])
        most = max(max(values) for values in shown.values())
        axes.plot([count, most], [value, value * most / count], ":", color="gray", label="linear")
    elif max(max(values.values()) for values in shown.values()) < LARGE:
        # Of values within a decade a logarithmic axis has no readable labels.
        axes.set_yscale("linear")
        axes.set_ylim(bottom=0)
    # Below the lines, which it would hide.
    axes.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.24), ncols=2, frameon=False)
