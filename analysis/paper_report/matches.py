"""Arms of the store that stand for a row of a paper, with the verdict on each."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.formatting import format_count, format_difference, format_mean, shorten_metric
from analysis.papers.recipe import find_coverage_departure, list_data_departures, list_departures
from analysis.papers.rows import PaperRow, Version, group_rows_by_source, resolve_rows
from analysis.reader.sweep import Sweep, Trial
from analysis.sections.coverage_table import compare_digits
from analysis.stats.comparison import compare_arms, get_comparison, make_design
from analysis.stats.verdicts import RERUN_NOISE, make_verdict
from fcos.storage.store_conventions import MetricPrefix

SYNTHETIC = "drawn shapes, not COCO"
OTHER = "other data, not COCO"
COCO = "COCO"


@dataclass(frozen=True)
class PaperMatch:
    """An arm with finished trials that names a row of a paper.

    run_ids: seed -> run id. values: metric of the row -> its number in each seed of `run_ids`. data: COCO, SYNTHETIC or
    OTHER. departures: in what the setting departs from the paper's.
    """

    row: PaperRow
    sweep: Sweep
    arm: str
    run_ids: Mapping[int, str]
    values: Mapping[str, tuple[float, ...]]
    data: str
    departures: tuple[str, ...]
    verdict: str

    @property
    def is_coco(self) -> bool:
        """Whether the numbers are COCO's, so that their size compares with the paper's."""
        return self.data == COCO

    @property
    def is_reproduced(self) -> bool:
        """Whether the paper's number was reached with the paper's recipe."""
        return self.verdict.startswith("reproduced")

    @property
    def seeds(self) -> str:
        """Number of seeds, and which: 3 (0, 1, 2)."""
        return f"{len(self.run_ids)} ({', '.join(str(seed) for seed in self.run_ids)})"

    def mean(self, metric: str) -> float:
        """Return the mean over seeds; NaN where the arm does not measure the metric."""
        return float(np.mean(self.values[metric])) if metric in self.values else math.nan

    def deviation(self, metric: str) -> float:
        """Return the sample standard deviation over seeds; NaN of fewer than two."""
        values = self.values.get(metric, ())
        return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan

    def difference(self, metric: str) -> float:
        """Return our mean minus the paper's number; NaN on other data than COCO, where sizes do not compare."""
        return self.mean(metric) - self.row.metrics.get(metric, math.nan) if self.is_coco else math.nan

    def format_result(self, metric: str) -> str:
        """Format mean and deviation: 44.2 ± 2.1, or "" where the arm does not measure the metric."""
        mean = self.mean(metric)
        return "" if math.isnan(mean) else format_mean(mean, self.deviation(metric), metric)


def match_rows(sweeps: Iterable[Sweep], version: Version) -> tuple[dict[str, list[PaperMatch]], tuple[str, ...]]:
    """Return row id -> the arms that stand for it, best first, and notes on unknown row ids.

    COCO comes before other data, then the paper's recipe before others, then more seeds, then the newer sweep.
    sweeps: newest first.
    """
    matches: dict[str, list[PaperMatch]] = {}
    notes: list[str] = []
    for sweep in sweeps:
        resolved, unknown = resolve_rows(sweep.experiment.paper)
        notes += [f"Sweep {sweep.name}: {note}" for note in unknown]
        for arm, row in resolved:
            match = _match_row(sweep, arm, row) if row.version == version else None
            if match is not None:
                matches.setdefault(row.id, []).append(match)
    for of_row in matches.values():
        # A stable sort: among equals the newer sweep stays first.
        of_row.sort(key=lambda match: (not match.is_coco, len(match.departures) > 0, -len(match.run_ids)))
    return matches, tuple(dict.fromkeys(notes))


def _match_row(sweep: Sweep, arm: str, row: PaperRow) -> PaperMatch | None:
    """Return the match of an arm and a row, None without a finished trial with its metrics."""
    trials = [
        trial for trial in sweep.finished if trial.arm == arm and any(metric in trial.metrics for metric in row.metrics)
    ]
    trials.sort(key=lambda trial: trial.seed)
    if not trials:
        return None
    is_coverage = all(metric.startswith(MetricPrefix.COVERAGE) for metric in row.metrics)
    if is_coverage:
        # Every seed counts the same boxes.
        trials = trials[:1]
    measured = [metric for metric in row.metrics if all(metric in trial.metrics for trial in trials)]
    values = {metric: tuple(float(trial.metrics[metric]) for trial in trials) for metric in measured}
    if is_coverage:
        data, departures = _check_coverage_setting(trials[0])
        numbers = {metric: of_metric[0] for metric, of_metric in values.items()}
        verdict = "; ".join(departures) or compare_digits(numbers, row)
    else:
        data, departures = _check_setting(trials, sweep.finished, row)
        verdict = _make_verdict(sweep, arm, row, values, data, departures)
    run_ids = {trial.seed: trial.run_id for trial in trials}
    return PaperMatch(row, sweep, arm, run_ids, values, data, departures, verdict)


def _check_coverage_setting(trial: Trial) -> tuple[str, tuple[str, ...]]:
    """Return data and departures of a coverage run."""
    departure = find_coverage_departure(trial.params)
    # The same boxes at another size, or a part of them, are COCO's all the same.
    data = _describe_other_data([trial]) if departure == "other data" else COCO
    return data, () if departure is None else (departure,)


def _check_setting(trials: Sequence[Trial], finished: Sequence[Trial], row: PaperRow) -> tuple[str, tuple[str, ...]]:
    """Return data and departures of trainings."""
    is_part = any(trial.params.get("data.limit_val") is not None for trial in trials)
    is_other = bool(list_data_departures(trials)) or is_part
    return _describe_other_data(trials) if is_other else COCO, tuple(list_departures(finished, row))


def _describe_other_data(trials: Sequence[Trial]) -> str:
    return SYNTHETIC if {trial.provenance.data for trial in trials} == {"synthetic"} else OTHER


def _make_verdict(
    sweep: Sweep,
    arm: str,
    row: PaperRow,
    values: Mapping[str, tuple[float, ...]],
    data: str,
    departures: tuple[str, ...],
) -> str:
    metric = next(iter(values))
    direction = _compare_directions(sweep, arm, row, metric)
    if data != COCO:
        return direction or f"{data}: nothing to compare"
    if departures:
        return "; ".join(["another recipe than the paper's", *([direction] if direction else [])])
    gap = float(np.mean(values[metric])) - row.metrics[metric]
    word = "reproduced" if abs(gap) <= RERUN_NOISE else "not reproduced"
    seeds = format_count(len(values[metric]), "seed")
    size = f"{format_difference(gap, metric)} {shorten_metric(metric)}"
    return f"{word}: {size} over {seeds} (re-runs differ by up to {RERUN_NOISE:.1%})"


def _compare_directions(sweep: Sweep, arm: str, row: PaperRow, metric: str) -> str:
    """Return the arm's difference to its baseline beside the paper's, "" where there is nothing to compare."""
    experiment, baseline = sweep.experiment, sweep.experiment.baseline
    if baseline is None:
        return ""
    if arm == baseline:
        return "the baseline of its comparison" if len(experiment.arms) > 1 else ""
    if metric != experiment.metrics[0]:
        # A sweep tests its first metric alone.
        return ""
    comparisons = compare_arms(_collect_values(sweep, metric), make_design(sweep, baseline))
    comparison = get_comparison(comparisons, metric, arm)
    if not comparison.num_pairs:
        return ""
    rows, _ = group_rows_by_source(experiment.paper)
    # Of several rows of one table the arm stands for each in turn.
    rows[arm][row.source] = row
    for paper in make_verdict(comparison, baseline, rows, sweep.finished).paper:
        if paper.source == row.source:
            agreement = f"{paper.agreement} in direction" if paper.agreement == "agrees" else paper.agreement
            ours, theirs = (format_difference(value, metric) for value in (comparison.difference, paper.difference))
            return f"{agreement}: {ours} to {baseline}, paper {theirs}"
    return ""


def _collect_values(sweep: Sweep, metric: str) -> pd.DataFrame:
    """Return metric, arm, seed, value of the trials that count; NaN for one that has not finished."""
    rows = [
        (metric, trial.arm, trial.seed, trial.metrics.get(metric, math.nan) if trial.is_finished else math.nan)
        for trial in sweep.current
    ]
    return pd.DataFrame(rows, columns=["metric", "arm", "seed", "value"])
