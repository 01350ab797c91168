"""Content of an ablation's report: arms compared seed by seed, beside the papers."""

from collections.abc import Mapping, Sequence
from functools import partial

import pandas as pd

from analysis.formatting import join_words, shorten_metric
from analysis.papers.recipe import list_departures
from analysis.papers.rows import RowsBySource
from analysis.reader.sweep import TRAIN_LOSS, Sweep, Trial
from analysis.reader.sweep_evaluations import SweepEvaluations
from analysis.render import plots, tables
from analysis.sections.content import Figure, ReportContent
from analysis.sections.gallery import build_gallery
from analysis.sections.other_images import build_other_images
from analysis.sections.provenance import describe_provenance_differences, describe_shared_trainings
from analysis.sections.resampling import Resampling
from analysis.sections.shown_arms import choose_shown_arms
from analysis.sections.statistics import describe_test
from analysis.stats import paired
from analysis.stats.comparison import Comparison, compare_arms, make_design
from analysis.stats.verdicts import Verdict, make_verdict

LEGEND = (
    "Mean ± sample standard deviation over seeds. The paired difference is the mean over the seeds that both arms "
    "have, with the interval that inverts the test, or the range of the pairs where these are too few for one. Beside "
    "the papers' numbers, in brackets, their difference to their own baseline row. p: exact sign-flip test, corrected "
    "for the number of arms; at most 0.05 where the interval leaves zero out."
)


def build_ablation_content(
    sweep: Sweep,
    evaluations: SweepEvaluations,
    values: pd.DataFrame,
    baseline: str | None,
    rows: Mapping[str, RowsBySource],
    resampling: Resampling,
) -> ReportContent:
    """Compare the arms with the baseline; reads the store for pictures and saved evaluations.

    values: see analysis.stats.paired.collect_final_values. rows: arm -> source -> row.
    """
    metrics = sweep.experiment.metrics
    differences = paired.compute_paired_differences(values, baseline or "")
    design = None if baseline is None else make_design(sweep, baseline)
    comparisons = compare_arms(values, design)
    arms = list(dict.fromkeys(values["arm"]))
    tested = [comparison for comparison in comparisons if comparison.is_tested]
    verdicts = [make_verdict(comparison, baseline or "", rows, sweep.finished) for comparison in tested]
    frame = tables.collect_results(values, paired.summarise(values), comparisons, baseline, rows)
    shown = choose_shown_arms(arms, comparisons, baseline, metrics[0])
    shown_sweep = sweep.of_arms(shown.arms)
    evaluations.limit_to(shown_sweep)
    gallery = build_gallery(shown_sweep)
    shown_comparisons = [comparison for comparison in comparisons if comparison.arm in shown.arms]
    other_images = build_other_images(shown_sweep, evaluations, shown_comparisons, baseline, resampling)
    figures = _plot_curves(shown_sweep, shown.arms)
    if baseline is not None:
        shown_tested = [comparison for comparison in shown_comparisons if comparison.is_tested]
        figures += _plot_differences(differences, shown_tested, baseline, verdicts)
    return ReportContent(
        kind="comparison",
        has_training=True,
        values=frame,
        tables=tuple(_make_table(frame, metric) for metric in dict.fromkeys(metrics)),
        legend=LEGEND,
        comparisons=tuple(comparisons),
        verdicts=tuple(verdicts),
        method=(*describe_test(tested, design), *describe_shared_trainings(sweep)),
        limitations=tuple(_describe_limitations(values, metrics[0], rows, sweep.finished)),
        figures=tuple(figures),
        gallery=gallery,
        notes=(*shown.notes, *gallery.notes, *(() if other_images is None else other_images.notes)),
        other_images=other_images,
        shown_arms=shown.arms,
    )


def _make_table(frame: pd.DataFrame, metric: str) -> tables.Table:
    of_metric = frame[frame["metric"] == metric]
    return tables.Table(tables.make_caption(metric), of_metric, tables.make_result_columns(frame))


def _describe_limitations(
    values: pd.DataFrame, metric: str, rows: Mapping[str, RowsBySource], finished: Sequence[Trial]
) -> list[str]:
    lines = _describe_departures(rows, finished)
    steps = values.loc[values["metric"] == metric, "step"].dropna().astype(int).unique()
    if len(steps) > 1:
        lines.append(f"The trials ended at different steps: {join_words(sorted(steps))}.")
    return [*lines, *describe_provenance_differences(finished)]


def _describe_departures(rows: Mapping[str, RowsBySource], finished: Sequence[Trial]) -> list[str]:
    """Return lines on how the setting departs from that of the papers' rows."""
    by_source = {source: row for of_arm in rows.values() for source, row in of_arm.items()}
    if not finished or not by_source:
        return []
    departures = {source: list_departures(finished, row) for source, row in by_source.items()}
    first = next(iter(departures.values()))
    common = [reason for reason in first if all(reason in others for others in departures.values())]
    groups: dict[tuple[str, ...], list[str]] = {}
    for source, reasons in departures.items():
        groups.setdefault(tuple(reason for reason in reasons if reason not in common), []).append(source)
    lines = []
    if common:
        lines.append(
            f"Absolute numbers are not comparable with {join_words(list(by_source))}, "
            f"only the direction of a difference is: {'; '.join(common)}."
        )
    for specific, sources in groups.items():
        if specific:
            lines.append(f"The setting departs from {join_words(sources)} in: {'; '.join(specific)}.")
    lines.append("The papers give one run for each row, without seeds; re-runs differ by 0.2 to 0.7 AP.")
    return lines


def _plot_curves(sweep: Sweep, arms: Sequence[str]) -> list[Figure]:
    """Plot the first metric and the loss over steps."""
    trials = [(trial.run_id, trial.arm, trial.seed, trial.status) for trial in sweep.current]
    points = sweep.points.merge(pd.DataFrame(trials, columns=["run_id", "arm", "seed", "status"]), on="run_id")
    figures = []
    for metric in dict.fromkeys([sweep.experiment.metrics[0], TRAIN_LOSS]):
        of_metric = points[points["key"] == metric]
        if len(of_metric):
            figures.append(
                Figure.of_plot(
                    f"{shorten_metric(metric)} during training",
                    "Thin: one seed. Thick: the mean over the finished seeds of an arm.",
                    partial(plots.plot_learning_curves, of_metric, metric, arms),
                )
            )
    return figures


def _plot_differences(
    differences: pd.DataFrame, tested: Sequence[Comparison], baseline: str, verdicts: Sequence[Verdict]
) -> list[Figure]:
    comparisons = [comparison for comparison in tested if comparison.num_pairs]
    if not comparisons:
        return []
    metric = comparisons[0].metric
    pairs = differences[differences["metric"] == metric]
    label = f"difference to {plots.escape_label(baseline)} in {shorten_metric(metric)}"
    paper_differences = {
        verdict.arm: {paper.source: paper.difference for paper in verdict.paper}
        for verdict in verdicts
        if verdict.paper
    }
    return [
        Figure.of_plot(
            f"{shorten_metric(metric)}: paired differences to {baseline}",
            "An interval that excludes zero shows a direction.",
            partial(plots.plot_paired_differences, pairs, comparisons, paper_differences, metric, label),
        )
    ]
