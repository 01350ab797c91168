"""What a sweep of trainings says: arms compared seed by seed, beside the papers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.formatting import format_count, join_words, shorten_metric
from analysis.papers.recipe import departures
from analysis.papers.rows import PaperRow
from analysis.reader.sweep import Sweep
from analysis.render import plots, tables
from analysis.sections.findings import Figure, Findings, drawn
from analysis.sections.gallery import gallery
from analysis.sections.provenance import differences_in_provenance, shared_trainings
from analysis.stats import paired
from analysis.stats.verdicts import Verdict, judge

LEGEND = (
    "Mean ± sample standard deviation over seeds. The paired difference is the mean over the seeds that both arms "
    "have, with its 95 % t-interval. Beside the papers' numbers, in brackets, their difference to their own baseline "
    "row. p: exact sign-flip test."
)


def training_findings(
    sweep: Sweep, values: pd.DataFrame, baseline: str | None, rows: Mapping[str, Mapping[str, PaperRow]]
) -> Findings:
    """Compare and judge; touches the store only for pictures. values: see comparison.final_values."""
    metrics, trials = sweep.experiment.metrics, sweep.current
    arms = list(dict.fromkeys(values["arm"]))
    differences = paired.paired_differences(values, baseline or "")
    compared = paired.compare(differences)
    finished = trials[trials["status"] == "FINISHED"]
    verdicts = _verdicts(compared, metrics[0], arms, baseline, rows, finished)
    frame = tables.results(values, paired.summarise(values), compared, baseline, rows)
    shown = gallery(sweep)
    return Findings(
        trains=True,
        values=frame,
        tables=tuple(_table(frame, metric) for metric in dict.fromkeys(metrics)),
        legend=LEGEND,
        verdicts=tuple(verdicts),
        shows=tuple(_shows(sweep, verdicts, baseline)),
        cannot=tuple(_cannot(values, compared, metrics[0], rows, finished)),
        figures=tuple(_figures(sweep, arms, differences, compared, verdicts, baseline)),
        gallery=shown,
        notes=shown.notes,
    )


def _table(frame: pd.DataFrame, metric: str) -> tables.Table:
    of_metric = frame[frame["metric"] == metric]
    return tables.Table(tables.caption(metric), of_metric, tables.result_columns(frame))


def _verdicts(
    compared: pd.DataFrame,
    metric: str,
    arms: list[str],
    baseline: str | None,
    rows: Mapping[str, Mapping[str, PaperRow]],
    finished: pd.DataFrame,
) -> list[Verdict]:
    if baseline is None:
        return []
    found = compared[compared["metric"] == metric].set_index("arm", drop=False)
    nothing: dict[str, Any] = {
        "difference": np.nan,
        "low": np.nan,
        "high": np.nan,
        "num_pairs": 0,
        "num_higher": 0,
    }
    verdicts = []
    for arm in (arm for arm in arms if arm != baseline):
        statistics = found.loc[arm].to_dict() if arm in found.index else {"arm": arm, **nothing}
        verdicts.append(judge(statistics, metric, baseline, rows, finished))
    return verdicts


def _shows(sweep: Sweep, verdicts: list[Verdict], baseline: str | None) -> list[str]:
    shows = []
    if baseline is not None and verdicts:
        shows.append(
            f"Each arm is held against {baseline} seed by seed: arms of one seed start from the same weights "
            "and see the same images in the same order, so that what a seed brings along cancels out."
        )
    return [*shows, *shared_trainings(sweep)]


def _cannot(
    values: pd.DataFrame,
    compared: pd.DataFrame,
    metric: str,
    rows: Mapping[str, Mapping[str, PaperRow]],
    finished: pd.DataFrame,
) -> list[str]:
    lines = []
    of_metric = compared[compared["metric"] == metric]
    if len(of_metric):
        pairs = int(of_metric["num_pairs"].max())
        lines.append(
            f"{format_count(pairs, 'pair')} of seeds: the interval takes the differences as normally distributed, "
            f"and without that no p value below {2 / 2**pairs:.2g} is possible (exact sign-flip test)."
        )
    if len(of_metric) > 1:
        lines.append(f"{len(of_metric)} comparisons with the baseline, each with its own 95 % interval.")
    lines += _beside_papers(rows, finished)
    steps = values.loc[values["metric"] == metric, "step"].dropna().astype(int).unique()
    if len(steps) > 1:
        lines.append(f"The trials ended at different steps: {join_words(sorted(steps))}.")
    return [*lines, *differences_in_provenance(finished)]


def _beside_papers(rows: Mapping[str, Mapping[str, PaperRow]], finished: pd.DataFrame) -> list[str]:
    by_source = {source: item for of_arm in rows.values() for source, item in of_arm.items()}
    if finished.empty or not by_source:
        return []
    reasons = {source: departures(finished, item) for source, item in by_source.items()}
    groups: dict[tuple[str, ...], list[str]] = {}
    first = next(iter(reasons.values()))
    common = [reason for reason in first if all(reason in found for found in reasons.values())]
    for source, found in reasons.items():
        groups.setdefault(tuple(reason for reason in found if reason not in common), []).append(source)
    lines = []
    if common:
        lines.append(
            f"Absolute numbers are not comparable with {join_words(list(by_source))}, "
            f"only the direction of a difference is: {'; '.join(common)}."
        )
    for own, sources in groups.items():
        if own:
            lines.append(f"The setting departs from {join_words(sources)} in: {'; '.join(own)}.")
    lines.append("The papers give one run for each row, without seeds; re-runs differ by 0.2 to 0.7 AP.")
    return lines


def _figures(
    sweep: Sweep,
    arms: list[str],
    differences: pd.DataFrame,
    compared: pd.DataFrame,
    verdicts: list[Verdict],
    baseline: str | None,
) -> list[Figure]:
    metric = sweep.experiment.metrics[0]
    points = sweep.points.merge(sweep.current[["run_id", "arm", "seed", "status"]], on="run_id")
    figures = []
    for key in dict.fromkeys([metric, "train/loss"]):
        curve = points[points["key"] == key]
        if len(curve):
            figures.append(
                drawn(
                    f"{shorten_metric(key)} while training",
                    "Thin: one seed. Thick: the mean over the finished seeds of an arm.",
                    lambda theme, curve=curve, key=key: plots.learning_curves(curve, key, arms, theme),  # type: ignore[misc]
                )
            )
    shown = compared[compared["metric"] == metric]
    if len(shown) and baseline is not None:
        pairs = differences[differences["metric"] == metric]
        printed = {v.arm: {p.source: p.difference for p in v.paper} for v in verdicts if v.paper}
        figures.append(
            drawn(
                f"{shorten_metric(metric)}: paired differences to {baseline}",
                "An interval that stays clear of zero shows a direction.",
                lambda theme: plots.paired_differences(pairs, shown, printed, metric, baseline, theme),
            )
        )
    return figures
