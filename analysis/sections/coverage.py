"""Content of a coverage sweep's report: numbers without randomness, so each arm has one and no spread."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import pandas as pd

from analysis.formatting import format_count
from analysis.papers.recipe import find_coverage_departure
from analysis.papers.rows import RowsBySource
from analysis.reader.client import read_artifact
from analysis.reader.coverage import CoverageCounts, read_coverage
from analysis.reader.sweep import Sweep, Trial
from analysis.render.coverage_plots import plot_box_sizes, plot_positives_per_level
from analysis.sections.content import Figure, ReportContent
from analysis.sections.coverage_table import OBJECTIVE, collect_coverage_values, make_coverage_table
from analysis.sections.gallery import encode_picture
from analysis.sections.provenance import describe_provenance_differences, describe_shared_trainings
from fcos.storage.store_conventions import Artifact, MetricPrefix

MAX_ARMS = 6
MAX_MAPS = 2
MAP_SIDE = 2200
NO_RANDOMNESS = (
    "Nothing is trained and nothing is random: the same annotations give the same numbers, so an arm has one number, "
    "without spread."
)
NO_AP = "Coverage bounds what a training can learn to detect; how well it learns that is not measured here."


def is_coverage(sweep: Sweep) -> bool:
    """Return whether a sweep measures coverage and trains nothing."""
    return all(metric.startswith(MetricPrefix.COVERAGE) for metric in sweep.experiment.metrics)


def build_coverage_content(
    sweep: Sweep, values: pd.DataFrame, baseline: str | None, rows: Mapping[str, RowsBySource]
) -> ReportContent:
    """Build one table of all arms and their figures; reads their counts and maps from the store.

    values: see analysis.stats.paired.collect_final_values. rows: arm -> source -> row.
    """
    metrics = sweep.experiment.metrics
    counts = _read_counts(sweep, dict.fromkeys(values["arm"]))
    departures = {trial.arm: find_coverage_departure(trial.params) for trial in sweep.finished}
    frame = collect_coverage_values(values, metrics, baseline, rows, departures, counts)
    fcos_counts = {arm: entry for arm, entry in counts.items() if entry.coverage.assignment == "fcos"}
    order = order_arms(fcos_counts, baseline, metrics[0] == OBJECTIVE)
    maps, notes = _collect_maps(sweep, fcos_counts, order)
    return ReportContent(
        kind="coverage",
        has_training=False,
        values=frame,
        tables=(make_coverage_table(frame, metrics),),
        legend=_make_legend(frame, metrics, counts, departures),
        method=(NO_RANDOMNESS, *describe_shared_trainings(sweep)),
        limitations=(NO_AP, *describe_provenance_differences(sweep.finished)),
        figures=(*_plot_figures(fcos_counts, order), *maps),
        notes=tuple(notes),
        recommended_settings=format_best_settings(counts, baseline) if metrics[0] == OBJECTIVE else None,
        coverage_counts=counts,
    )


def _read_counts(sweep: Sweep, arms: Iterable[str]) -> dict[str, CoverageCounts]:
    """Return the counts of each finished arm that has them, in order of the arms."""
    trials = _first_finished(sweep)
    counts = {arm: read_coverage(sweep.uri, trials[arm].run_id) for arm in arms if arm in trials}
    return {arm: entry for arm, entry in counts.items() if entry is not None}


def _first_finished(sweep: Sweep) -> dict[str, Trial]:
    trials: dict[str, Trial] = {}
    for trial in sweep.finished:
        trials.setdefault(trial.arm, trial)
    return trials


def _make_legend(
    frame: pd.DataFrame,
    metrics: Sequence[str],
    counts: Mapping[str, CoverageCounts],
    departures: Mapping[str, str | None],
) -> str:
    lines = []
    if metrics[0] == OBJECTIVE and counts:
        weights = next(iter(counts.values())).coverage
        lines.append(
            f"Objective: bpr − {weights.ambiguity_weight:g} × ambiguous + {weights.evenness_weight:g} × evenness, "
            "highest first. Range ends are pixels of the network's input."
        )
    compared = [departures[arm] for arm in frame.loc[frame["papers"] != "", "arm"] if arm in departures]
    if compared:
        lines.append("Paper: its number for the same row.")
    if None in compared:
        lines.append("Reproduced: all printed digits agree; else the difference of the digits.")
    if any(compared):
        lines.append(
            "The papers count COCO val2017 at 800 pixels: beside other data their numbers only show where COCO lies."
        )
    return " ".join(lines)


def format_best_settings(counts: Mapping[str, CoverageCounts], baseline: str | None) -> str | None:
    """Return the settings with the highest objective as YAML, compared with the baseline; None without any."""
    scores = {arm: entry.metrics[OBJECTIVE] for arm, entry in counts.items() if OBJECTIVE in entry.metrics}
    if not scores:
        return None
    best = max(scores, key=lambda arm: scores[arm])
    lines = [f"# best: {best}, objective {100 * scores[best]:.2f}"]
    if baseline in scores and baseline != best:
        lines[0] += f", {100 * (scores[best] - scores[baseline]):+.2f} over {baseline} ({100 * scores[baseline]:.2f})"
    for name in ("bpr", "ambiguous", "evenness"):
        metric = MetricPrefix.COVERAGE + name
        of_baseline = f", {baseline} {100 * counts[baseline].metrics[metric]:.2f}" if baseline in scores else ""
        lines.append(f"# {name} {100 * counts[best].metrics[metric]:.2f}{of_baseline}")
    return "\n".join(lines) + "\n" + counts[best].config_block


def order_arms(counts: Mapping[str, CoverageCounts], baseline: str | None, by_objective: bool) -> list[str]:
    """Return the arms in the order of figures: the baseline, then by objective or in the plan's order."""
    arms = sorted(counts, key=lambda arm: -counts[arm].metrics[OBJECTIVE]) if by_objective else list(counts)
    return sorted(arms, key=lambda arm: arm != baseline)


def group_by_ranges(counts: Mapping[str, CoverageCounts], arms: Iterable[str]) -> dict[str, list[str]]:
    """Return the first arm of each set of levels and ranges -> the other arms with the same."""
    first: dict[tuple[object, ...], str] = {}
    groups: dict[str, list[str]] = {}
    for arm in arms:
        key = (tuple(counts[arm].levels), tuple(counts[arm].assignment.ranges))
        if first.setdefault(key, arm) == arm:
            groups[arm] = []
        else:
            groups[first[key]].append(arm)
    return groups


def _make_label(arm: str, others: Sequence[str]) -> str:
    return f"{arm} (and {format_count(len(others), 'other')})" if others else arm


def _plot_figures(counts: Mapping[str, CoverageCounts], order: Sequence[str]) -> list[Figure]:
    groups = dict(list(group_by_ranges(counts, order).items())[:MAX_ARMS])
    by_ranges = {_make_label(arm, others): counts[arm] for arm, others in groups.items()}
    several_levels = [arm for arm in order if len(counts[arm].levels) > 1][:MAX_ARMS]
    figures = []
    if by_ranges:
        caption = (
            "A box can have positives on the levels whose range overlaps the span from half its longest side to the "
            "whole of it."
        )
        if any(groups.values()):
            caption += " Arms with the same levels and ranges are shown once."
        figures.append(Figure.of_plot("Box sizes and level ranges", caption, partial(plot_box_sizes, by_ranges)))
    if several_levels:
        plot = partial(plot_positives_per_level, {arm: counts[arm] for arm in several_levels})
        figures.append(Figure.of_plot("Positives per level", "Shares of all positives of an arm.", plot))
    return figures


def _collect_maps(
    sweep: Sweep, counts: Mapping[str, CoverageCounts], order: Sequence[str]
) -> tuple[list[Figure], list[str]]:
    """Return the assignment maps of the first arms with distinct ranges, and notes on maps that cannot be read."""
    trials, figures, notes = _first_finished(sweep), [], []
    # Assignments other than FCOS's own have no map with and without center sampling.
    mapped = [arm for arm in order if counts[arm].assignment.kind == "fcos"]
    for arm, others in list(group_by_ranges(counts, mapped).items())[:MAX_MAPS]:
        content = read_artifact(sweep.uri, trials[arm].run_id, Artifact.CENTER_SAMPLING_MAP)
        uri = None if content is None else encode_picture(content, MAP_SIDE)
        if uri is None:
            notes.append(f"The assignment map of {arm} cannot be read from the store.")
            continue
        figures.append(
            Figure.of_picture(
                f"Locations assigned to each box of one image: {_make_label(arm, others)}",
                "The same image without and with center sampling, level by level; the larger a dot, the higher its "
                "center-ness. Boxes without a location on a level are thin there.",
                uri,
            )
        )
    return figures, notes
