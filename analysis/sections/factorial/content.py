"""Content of a factorial experiment's report: effects of factors over seeds, above the arms that are their cells."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from analysis.formatting import join_words, shorten_metric
from analysis.papers.rows import RowsBySource
from analysis.reader.sweep import Sweep
from analysis.reader.sweep_evaluations import SweepEvaluations
from analysis.sections.ablation import build_ablation_content
from analysis.sections.content import FactorialContent, ReportContent
from analysis.sections.factorial.figures import plot_effects, plot_interaction_means
from analysis.sections.factorial.table import make_effect_table
from analysis.sections.resampling import Resampling
from analysis.sections.statistics import describe_levels, describe_looks, describe_margin
from analysis.stats.comparison import ComparisonDesign, make_design
from analysis.stats.factorial.effects import EffectResult, list_incomplete_seeds, measure_effects, tabulate_cells
from analysis.stats.factorial.verdicts import make_effect_verdict
from fcos.statistics.aliases import describe_fraction
from fcos.statistics.factorial import FactorialDesign

LEGEND = (
    "An effect is computed within each seed from all cells; shown are its mean over the seeds, the interval that "
    "inverts its test, or the range of the seeds where these are too few for one, and p, corrected for the number of "
    "effects. Metrics below the first are described: an uncorrected interval each, no p. Arms are the cells: mean ± "
    "sample standard deviation over seeds, and paired difference to the cell of all first levels, described alone."
)
# Cells that a note names.
MOST_CELLS = 3


def build_factorial_content(
    sweep: Sweep, evaluations: SweepEvaluations, values: pd.DataFrame, resampling: Resampling
) -> ReportContent:
    """Test the effects of the experiment's factors; reads the store for pictures and saved evaluations.

    values: see analysis.stats.paired.collect_final_values.
    """
    factorial = sweep.experiment.design
    assert factorial is not None, "of an experiment with factors"
    design = make_design(sweep, factorial.arms[0])
    no_rows: Mapping[str, RowsBySource] = {}
    content = build_ablation_content(sweep, evaluations, values, design.baseline, no_rows, resampling)
    effects = measure_effects(values, factorial, design)
    tested = [result for result in effects if result.comparison.is_tested]
    table = tabulate_cells(values, design.metric, factorial, design.seeds)
    metrics = dict.fromkeys(sweep.experiment.metrics)
    return replace(
        content,
        tables=(*(make_effect_table(effects, metric, factorial) for metric in metrics), *content.tables),
        legend=LEGEND,
        verdicts=tuple(make_effect_verdict(result, factorial) for result in tested),
        method=(*_describe_method(tested, factorial, design), *content.method),
        figures=(
            *plot_effects(tested, design.metric),
            *plot_interaction_means(table, tested, factorial, design.metric),
            *content.figures,
        ),
        notes=(*_describe_incomplete(table), *content.notes),
        factorial=FactorialContent(factorial, effects),
    )


def _describe_method(tested: Sequence[EffectResult], factorial: FactorialDesign, design: ComparisonDesign) -> list[str]:
    """Return how the effects were computed and tested."""
    comparisons = [result.comparison for result in tested]
    family = "the claimed effects" if factorial.claimed else "all main effects and interactions of two factors"
    apart = ", of those that are aliased with each other one" if factorial.relation else ""
    return [
        f"The cells combine the levels of {join_words(factorial.names)}: {len(factorial.cells)} combinations, "
        f"{describe_fraction(factorial)}.",
        "Main effect: mean over the cells with a level minus mean over those with the first level of the factor. "
        "Interaction: effect of one factor with the other's level, minus its effect with the other's first level. Both "
        "are averaged over the other factors, in percent points where the metric is a fraction.",
        "An effect is a number in each seed, whose cells start from the same weights and see the same images in the "
        "same order, so that the effect of the seed cancels out.",
        f"One test decides, on {shorten_metric(design.metric)} alone: an exact sequential sign-flip test of these "
        f"numbers, which takes them as symmetric and nothing else. Tested are {family}{apart}; arms are described.",
        describe_looks(design),
        describe_levels(comparisons, "effect", "seed"),
        *describe_margin(comparisons[0]),
        *(["No number of seeds separates an effect from those that it is aliased with."] if factorial.relation else []),
    ]


def _describe_incomplete(table: pd.DataFrame) -> list[str]:
    """Return a note for each seed that lacks cells, from which no effect is computed."""
    notes = []
    for seed, cells in list_incomplete_seeds(table).items():
        more = f" and {len(cells) - MOST_CELLS} more" if len(cells) > MOST_CELLS else ""
        notes.append(f"Seed {seed} is left out of the effects: no value of {', '.join(cells[:MOST_CELLS])}{more}.")
    return notes
