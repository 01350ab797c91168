"""Verdicts on paired differences: against the baseline, and beside the papers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from analysis.formatting import format_difference, format_interval, format_number, shorten_metric
from analysis.papers.recipe import list_departures
from analysis.papers.rows import PaperRow, RowsBySource
from analysis.reader.sweep import Trial
from analysis.stats.paired import Comparison
from fcos.storage.store_conventions import MetricPrefix

# Of val/ metrics: an interval around zero within +-1.0 AP shows that there is no difference that matters; a wider one
# shows nothing.
EQUIVALENCE_MARGIN = 0.010
# Below this a difference prints as 0.0 percent: no reader sees it, however certain it is.
PRINT_RESOLUTION = 0.0005
# Papers give one run for each row, and re-runs of one FCOS recipe differ by 0.2 to 0.7 AP (mmdetection PR
# 4370): a smaller difference in a paper is no clear one.
RERUN_NOISE = 0.007
# An exact sign-flip test of fewer pairs can never reach p <= 0.05 (2 / 2**6 = 0.03).
MIN_PAIRS_FOR_ABSENCE = 6

Outcome = Literal["higher", "lower", "equal", "identical", "not shown", "too few"]
Agreement = Literal["reproduced", "not reproduced", "agrees", "contradicts", "differs", "cannot tell"]


@dataclass(frozen=True)
class PaperVerdict:
    """Our paired difference beside the difference of the same two rows in one table of a paper."""

    source: str
    difference: float
    agreement: Agreement
    text: str


@dataclass(frozen=True)
class Verdict:
    """What one arm shows against the baseline in one metric."""

    arm: str
    metric: str
    outcome: Outcome
    text: str
    paper: tuple[PaperVerdict, ...]


def classify(comparison: Comparison) -> Outcome:
    """Return the direction that the pairs show, or why they show none."""
    pairs, low, high = comparison.num_pairs, comparison.low, comparison.high
    if pairs < 2:
        return "too few"
    if low == high:
        # Equal in every pair: the arms do the same. Any other constant has no spread to assess it by.
        return "identical" if abs(low) < 1e-12 else "too few"
    is_ap = comparison.metric.startswith(MetricPrefix.VAL)
    if is_ap and max(-low, high) < PRINT_RESOLUTION:
        return "equal"
    if low > 0 or high < 0:
        return "higher" if low > 0 else "lower"
    if is_ap and max(-low, high) <= EQUIVALENCE_MARGIN:
        return "equal"
    return "too few" if pairs < MIN_PAIRS_FOR_ABSENCE else "not shown"


def describe_outcome(comparison: Comparison, baseline: str) -> str:
    """Return the outcome in words: `higher than none: +3.1 AP, 95 % interval +1.2 to +5.0 over 3 pairs`."""
    outcome, metric, pairs = classify(comparison), comparison.metric, comparison.num_pairs
    if pairs == 0:
        return f"too few seeds to tell: no seed has finished in both this arm and {baseline}"
    size = f"{format_difference(comparison.difference, metric)} {shorten_metric(metric)}"
    if pairs == 1:
        return f"too few seeds to tell: {size} in a single pair, which has no interval"
    statistics = f"{size}, 95 % interval {format_interval(comparison.low, comparison.high, metric)} over {pairs} pairs"
    match outcome:
        case "higher" | "lower":
            return f"{outcome} than {baseline}: {statistics}"
        case "equal":
            margin = f"{format_number(EQUIVALENCE_MARGIN, metric)} {shorten_metric(metric)}"
            return f"no difference above {margin} to {baseline}: {statistics}"
        case "identical":
            return f"identical to {baseline} in all {pairs} pairs: the arms' settings have no effect here"
        case "not shown":
            return f"no difference to {baseline} shown: {statistics}"
        case _:
            return f"too few seeds to tell: {statistics}{_describe_trend(comparison)}"


def _describe_trend(comparison: Comparison) -> str:
    """Return the direction that all undecided pairs share and how many would decide, "" without such a direction."""
    pairs, needed = comparison.num_pairs, comparison.pairs_needed
    direction = {pairs: "higher", 0: "lower"}.get(comparison.num_higher)
    if direction is None or math.isnan(needed) or needed <= pairs:
        return ""
    return f"; {direction} in every pair, and about {needed:.0f} pairs with this spread would settle it"


def make_verdict(
    comparison: Comparison, baseline: str, rows: Mapping[str, RowsBySource], finished: Sequence[Trial]
) -> Verdict:
    """Return the verdict on a comparison, beside every table that has rows of both arms.

    rows: arm -> source -> row. finished: the finished trials of the sweep, whose setting is compared with the
    papers'.
    """
    metric, baseline_rows = comparison.metric, rows.get(baseline, {})
    pairs = [
        (baseline_rows[source], row)
        for source, row in rows.get(comparison.arm, {}).items()
        if source in baseline_rows and metric in row.metrics and metric in baseline_rows[source].metrics
    ]
    paper = tuple(
        _make_paper_verdict(comparison, row, row.metrics[metric] - baseline_row.metrics[metric], finished)
        for baseline_row, row in pairs
    )
    text = describe_outcome(comparison, baseline)
    return Verdict(comparison.arm, metric, classify(comparison), text, paper)


def _make_paper_verdict(
    comparison: Comparison, row: PaperRow, difference: float, finished: Sequence[Trial]
) -> PaperVerdict:
    agreement = compare_with_paper(comparison, difference)
    if agreement != "cannot tell" and not list_departures(finished, row):
        same = agreement == "agrees" and _is_same_size(comparison, difference)
        agreement = "reproduced" if same else "not reproduced"
    clear = _is_clear(difference)
    statement = agreement + (" in direction" if agreement == "agrees" and clear else "")
    if agreement == "differs":
        statement += f", ours is clearly {classify(comparison)}"
    if agreement == "cannot tell" and clear and _all_pairs_point_to(comparison, difference):
        statement += ", though every pair points the same way"
    size = format_difference(difference, comparison.metric)
    text = f"{row.source} ({size}{'' if clear else ', no clear difference'}): {statement}"
    return PaperVerdict(row.source, difference, agreement, text)


def _all_pairs_point_to(comparison: Comparison, difference: float) -> bool:
    pairs = comparison.num_pairs
    return pairs >= 2 and comparison.num_higher == (pairs if difference > 0 else 0)


def _is_clear(difference: float) -> bool:
    # Printed with one decimal: 0.7 AP counts, whatever rounding a subtraction of floats leaves.
    return round(abs(difference), 4) >= RERUN_NOISE


def _is_same_size(comparison: Comparison, difference: float) -> bool:
    is_inside = comparison.low <= difference <= comparison.high
    return is_inside or abs(comparison.difference - difference) <= RERUN_NOISE


def compare_with_paper(comparison: Comparison, difference: float) -> Agreement:
    """Return whether our direction is the paper's, where both are clear.

    difference: between the paper's two rows, a fraction of AP.
    """
    paper_outcome = "equal" if not _is_clear(difference) else ("higher" if difference > 0 else "lower")
    low, high = comparison.low, comparison.high
    match outcome := classify(comparison):
        case "higher" | "lower" if paper_outcome == "equal":
            # Clear of zero is not enough: only a difference beyond the noise of re-runs contradicts "none".
            return "differs" if low > RERUN_NOISE or high < -RERUN_NOISE else "cannot tell"
        case "higher" | "lower":
            return "agrees" if outcome == paper_outcome else "contradicts"
        case "equal" | "identical" if paper_outcome == "equal":
            return "agrees"
        case "equal" | "identical":
            return "contradicts" if not math.isnan(low) and not low <= difference <= high else "cannot tell"
        case _:
            return "cannot tell"
