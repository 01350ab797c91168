"""Which of the store's arms stands for which row of a paper, and what may be said of the two."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.formatting import format_count, format_difference, format_number, shorten_metric
from analysis.papers.recipe import coverage_departure, data_departures, departures
from analysis.papers.rows import PaperRow, Version, known_rows, rows_by_source
from analysis.reader.sweep import Sweep
from analysis.sections.coverage_table import beside
from analysis.stats import paired
from analysis.stats.verdicts import NOISE, judge

DRAWN = "drawn shapes, not COCO"
OTHER = "other data, not COCO"
COCO = "COCO"


@dataclass(frozen=True)
class Filling:
    """An arm with finished trials that names a row.

    values: metric of the row -> its number in each seed of `runs`. data: COCO, or what it is instead. departures: in
    what the setting is another than the paper's.
    """

    row: PaperRow
    sweep: Sweep
    arm: str
    # Seed -> run id.
    runs: Mapping[int, str]
    values: Mapping[str, tuple[float, ...]]
    data: str
    departures: tuple[str, ...]
    verdict: str

    @property
    def on_coco(self) -> bool:
        return self.data == COCO

    @property
    def reproduced(self) -> bool:
        return self.verdict.startswith("reproduced")

    @property
    def seeds(self) -> str:
        """3 (0, 1, 2): how many, and which."""
        return f"{len(self.runs)} ({', '.join(str(seed) for seed in self.runs)})"

    def mean(self, metric: str) -> float:
        return float(np.mean(self.values[metric])) if metric in self.values else math.nan

    def deviation(self, metric: str) -> float:
        """Sample standard deviation over seeds; NaN of fewer than two."""
        values = self.values.get(metric, ())
        return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan

    def difference(self, metric: str) -> float:
        """Ours minus the paper's, on COCO only: numbers of other data have no size to compare."""
        return self.mean(metric) - self.row.metrics.get(metric, math.nan) if self.on_coco else math.nan


def fillings(sweeps: Iterable[Sweep], version: Version) -> tuple[dict[str, list[Filling]], tuple[str, ...]]:
    """Row id -> the arms that stand for it, the one to show first, and notes on rows that do not exist.

    First comes COCO before other data, then the paper's recipe before others, then more seeds, then the newer.
    """
    found: dict[str, list[Filling]] = {}
    notes: list[str] = []
    for sweep in sweeps:
        known, unknown = known_rows(sweep.experiment.paper)
        notes += [f"Sweep {sweep.name}: {note}" for note in unknown]
        for arm, printed in known:
            filling = _filling(sweep, arm, printed) if printed.version == version else None
            if filling is not None:
                found.setdefault(printed.id, []).append(filling)
    for of_row in found.values():
        # Stable: of equals the newer sweep, which comes first, stays first.
        of_row.sort(key=lambda item: (not item.on_coco, len(item.departures) > 0, -len(item.runs)))
    return found, tuple(dict.fromkeys(notes))


def _filling(sweep: Sweep, arm: str, printed: PaperRow) -> Filling | None:
    """None where no trial of the arm has finished with any of the row's numbers."""
    current = sweep.current
    finished = current[current["status"] == "FINISHED"]
    own = finished[finished["arm"] == arm].sort_values("seed")
    own = own[[any(key in metrics for key in printed.metrics) for metrics in own["metrics"]]]
    if own.empty:
        return None
    coverage = all(key.startswith("coverage/") for key in printed.metrics)
    if coverage:
        # Every seed counts the same boxes.
        own = own.iloc[:1]
    known = [key for key in printed.metrics if all(key in metrics for metrics in own["metrics"])]
    values = {key: tuple(float(metrics[key]) for metrics in own["metrics"]) for key in known}
    runs = dict(zip(own["seed"].astype(int), own["run_id"], strict=True))
    data, found = _coverage_setting(own) if coverage else _setting(own, finished, printed)
    if coverage:
        figures = {key: numbers[0] for key, numbers in values.items()}
        verdict = "; ".join(found) if found else beside(figures, printed)
    else:
        verdict = _verdict(sweep, arm, printed, values, data, found)
    return Filling(printed, sweep, arm, runs, values, data, found, verdict)


def _coverage_setting(own: pd.DataFrame) -> tuple[str, tuple[str, ...]]:
    departure = coverage_departure(own.iloc[0]["params"])
    data = _data_words(own) if departure == "other data" else COCO
    # The same boxes at another size, or a part of them, are COCO's all the same.
    return data, () if departure is None else (departure,)


def _setting(own: pd.DataFrame, finished: pd.DataFrame, printed: PaperRow) -> tuple[str, tuple[str, ...]]:
    part = any(params.get("data.limit_val") is not None for params in own["params"])
    other = bool(data_departures(own)) or part
    return _data_words(own) if other else COCO, tuple(departures(finished, printed))


def _data_words(own: pd.DataFrame) -> str:
    return DRAWN if {tags.get("fcos.data") for tags in own["tags"]} == {"synthetic"} else OTHER


def _verdict(
    sweep: Sweep,
    arm: str,
    printed: PaperRow,
    values: Mapping[str, tuple[float, ...]],
    data: str,
    found: tuple[str, ...],
) -> str:
    metric = next(iter(values))
    direction = _direction(sweep, arm, printed, metric)
    if data != COCO:
        return direction or f"{data}: nothing to compare"
    if found:
        return "; ".join(["another recipe than the paper's", *([direction] if direction else [])])
    gap = float(np.mean(values[metric])) - printed.metrics[metric]
    word = "reproduced" if abs(gap) <= NOISE else "not reproduced"
    seeds = format_count(len(values[metric]), "seed")
    size = f"{format_difference(gap, metric)} {shorten_metric(metric)}"
    return f"{word}: {size} over {seeds} (re-runs differ by up to {NOISE:.1%})"


def _direction(sweep: Sweep, arm: str, printed: PaperRow, metric: str) -> str:
    """How the arm stands to its baseline beside how the paper's two rows stand; empty where nothing says so."""
    experiment, baseline = sweep.experiment, sweep.experiment.baseline
    if baseline is None:
        return ""
    if arm == baseline:
        return "the baseline of its comparison" if len(experiment.arms) > 1 else ""
    values = _values(sweep, metric)
    compared = paired.compare(paired.paired_differences(values, baseline)).set_index("arm", drop=False)
    if arm not in compared.index:
        return ""
    statistics: dict[str, Any] = compared.loc[arm].to_dict()
    finished = sweep.current[sweep.current["status"] == "FINISHED"]
    rows, _ = rows_by_source(experiment.paper)
    # Of several rows of one table the arm stands for each in turn.
    rows[arm][printed.source] = printed
    verdict = judge(statistics, metric, baseline, rows, finished)
    for item in verdict.paper:
        if item.source == printed.source:
            ours = format_difference(statistics["difference"], metric)
            words = f"{item.agreement} in direction" if item.agreement == "agrees" else item.agreement
            return f"{words}: {ours} to {baseline}, paper {format_difference(item.difference, metric)}"
    return ""


def _values(sweep: Sweep, metric: str) -> pd.DataFrame:
    """metric, arm, seed, value of the trials that count; of one that has not finished NaN."""
    current = sweep.current
    numbers = [
        metrics.get(metric, math.nan) if status == "FINISHED" else math.nan
        for metrics, status in zip(current["metrics"], current["status"], strict=True)
    ]
    return current.loc[:, ["arm", "seed"]].assign(metric=metric, value=numbers)


def cell(filling: Filling, metric: str) -> str:
    """44.2 ± 2.1, or an empty cell where the arm does not measure it."""
    mean, deviation = filling.mean(metric), filling.deviation(metric)
    if math.isnan(mean):
        return ""
    return (
        format_number(mean, metric)
        if math.isnan(deviation)
        else f"{format_number(mean, metric)} ± {format_number(deviation, metric)}"
    )
