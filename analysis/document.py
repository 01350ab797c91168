"""Everything that a report says, gathered from a sweep; how it looks is the templates' affair."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis import comparison, coverage, plots, tables
from analysis.formatting import enumerate_words, metric_name, plural
from analysis.paper import PaperRow, UnknownRowError, row
from analysis.pictures import Gallery, data_uri, gallery
from analysis.provenance import (
    differences_in_provenance,
    provenance,
    shared_trainings,
    unfinished,
    versions,
)
from analysis.recipe import departures, names_val2017
from analysis.store import public_uri
from analysis.sweep import Sweep
from analysis.verdicts import Verdict, judge


@dataclass(frozen=True)
class Figure:
    title: str
    light: str
    dark: str
    caption: str


@dataclass(frozen=True)
class Document:
    """results has one row per (metric, arm); the first metric is the one that the verdicts are about."""

    sweep: Sweep
    store: str
    state: str
    results: pd.DataFrame
    verdicts: tuple[Verdict, ...]
    shows: tuple[str, ...]
    cannot: tuple[str, ...]
    figures: tuple[Figure, ...]
    gallery: Gallery
    unfinished: pd.DataFrame
    provenance: pd.DataFrame
    versions: tuple[tuple[str, dict[str, str]], ...]
    rows: tuple[PaperRow, ...]
    notes: tuple[str, ...]
    # Of coverage alone: every figure that a paper prints too, and the settings that its search advises.
    beside: tuple[coverage.Beside, ...] = ()
    advice: str | None = None

    @property
    def metrics(self) -> list[str]:
        return list(dict.fromkeys(self.results["metric"]))

    def of(self, metric: str) -> pd.DataFrame:
        """The results of one metric."""
        return self.results[self.results["metric"] == metric]


def build(sweep: Sweep) -> Document:
    """Read, compare and judge; touches the store only for pictures and versions."""
    experiment, trials = sweep.experiment, sweep.current
    arms = list(dict.fromkeys([*experiment.arms, *trials["arm"]]))
    seeds = experiment.seeds or sorted(set(trials["seed"]))
    notes = list(sweep.notes)
    rows = _paper_rows(experiment.paper, notes)
    values = comparison.final_values(trials, sweep.points, experiment.metrics, arms, seeds)
    baseline = experiment.baseline if experiment.baseline in arms else None
    if experiment.baseline is not None and baseline is None:
        notes.append(f"The baseline {experiment.baseline} is no arm of this sweep: nothing is compared.")
    differences = comparison.paired_differences(values, baseline or "")
    compared = comparison.compare(differences)
    finished = trials[trials["status"] == "FINISHED"]
    counted = coverage.is_coverage(sweep)
    verdicts = [] if counted else _verdicts(compared, experiment.metrics[0], arms, baseline, rows, finished)
    covered = coverage.read_tables(sweep) if counted else {}
    drawn = _coverage_figures(covered, baseline) if covered else []
    figures = drawn if counted else _figures(sweep, arms, differences, compared, verdicts, baseline)
    shown = gallery(sweep)
    return Document(
        sweep=sweep,
        store=public_uri(sweep.uri),
        state=_state(sweep, values),
        results=tables.results(values, comparison.summarise(values), compared, baseline, rows),
        verdicts=tuple(verdicts),
        shows=tuple(_shows(sweep, verdicts, baseline)),
        cannot=() if counted else tuple(_cannot(values, compared, experiment.metrics[0], rows, finished)),
        figures=tuple(figures),
        gallery=shown,
        unfinished=unfinished(values),
        provenance=provenance(sweep),
        versions=tuple(versions(sweep)),
        rows=tuple({item.id: item for of_arm in rows.values() for item in of_arm.values()}.values()),
        notes=(*notes, *shown.notes),
        beside=tuple(coverage.beside_papers(values, rows, names_val2017(finished))) if counted else (),
        advice=coverage.advice(sweep, covered) if covered else None,
    )


def _coverage_figures(covered: Mapping[str, Mapping[str, Any]], baseline: str | None) -> list[Figure]:
    arms = coverage.shown_arms(covered, baseline)
    if not arms:
        return []
    return [
        _figure(
            "Box sizes over the level ranges",
            "A box is for the levels whose range meets the span from half its longest side to the whole of it.",
            lambda theme: coverage.box_sizes(covered, arms, theme),
        ),
        _figure(
            "Positives per level",
            "Shares of all positives of an arm.",
            lambda theme: coverage.positives_per_level(covered, arms, theme),
        ),
    ]


def _paper_rows(ids: Mapping[str, list[str]], notes: list[str]) -> dict[str, dict[str, PaperRow]]:
    rows: dict[str, dict[str, PaperRow]] = {}
    for arm, row_ids in ids.items():
        for row_id in row_ids:
            try:
                found = row(row_id)
            except UnknownRowError as error:
                notes.append(f"Arm {arm}: {error}.")
                continue
            first = rows.setdefault(arm, {}).setdefault(found.source, found)
            if first is not found:
                notes.append(f"Arm {arm} names two rows of {found.source}; {first.id} is shown, {row_id} is not.")
    return rows


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


def _state(sweep: Sweep, values: pd.DataFrame) -> str:
    states = values.drop_duplicates(["arm", "seed"])["status"].value_counts()
    parts = [f"{count} {str(state).lower()}" for state, count in states.items()]
    running = sweep.status == "RUNNING" or "RUNNING" in states
    head = "still running, these are its numbers so far" if running else sweep.status.lower()
    return f"{head}; {plural(int(states.sum()), 'trial')}" + (f": {enumerate_words(parts)}" if parts else "")


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
            f"{plural(pairs, 'pair')} of seeds: the interval takes the differences as normally distributed, "
            f"and without that no p value below {2 / 2**pairs:.2g} is possible (exact sign-flip test)."
        )
    if len(of_metric) > 1:
        lines.append(f"{len(of_metric)} comparisons with the baseline, each with its own 95 % interval.")
    lines += _beside_papers(rows, finished)
    steps = values.loc[values["metric"] == metric, "step"].dropna().astype(int).unique()
    if len(steps) > 1:
        lines.append(f"The trials ended at different steps: {enumerate_words(sorted(steps))}.")
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
            f"Absolute numbers are not comparable with {enumerate_words(list(by_source))}, "
            f"only the direction of a difference is: {'; '.join(common)}."
        )
    for own, sources in groups.items():
        if own:
            lines.append(f"The setting departs from {enumerate_words(sources)} in: {'; '.join(own)}.")
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
                _figure(
                    f"{metric_name(key)} while training",
                    "Thin: one seed. Thick: the mean over the finished seeds of an arm.",
                    lambda theme, curve=curve, key=key: plots.learning_curves(curve, key, arms, theme),  # type: ignore[misc]
                )
            )
    shown = compared[compared["metric"] == metric]
    if len(shown) and baseline is not None:
        pairs = differences[differences["metric"] == metric]
        printed = {v.arm: {p.source: p.difference for p in v.paper} for v in verdicts if v.paper}
        figures.append(
            _figure(
                f"{metric_name(metric)}: paired differences to {baseline}",
                "An interval that stays clear of zero shows a direction.",
                lambda theme: plots.paired_differences(pairs, shown, printed, metric, baseline, theme),
            )
        )
    return figures


def _figure(title: str, caption: str, draw: Callable[[plots.Theme], bytes]) -> Figure:
    light, dark = (data_uri(draw(theme), "image/svg+xml") for theme in (plots.LIGHT, plots.DARK))
    return Figure(title, light, dark, caption)
