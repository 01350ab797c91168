"""Verdicts on paired differences: against the baseline, and beside the papers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from analysis.formatting import (
    format_confidence,
    format_count,
    format_difference,
    format_interval,
    format_number,
    format_share,
    shorten_metric,
)
from analysis.papers.recipe import list_departures
from analysis.papers.rows import PaperRow, RowsBySource
from analysis.reader.sweep import Trial
from analysis.stats.comparison import Comparison
from fcos.statistics.outcomes import Outcome, classify_test
from fcos.statistics.power import MAX_PAIRS, POWER
from fcos.statistics.sign_flip import find_fewest_pairs

# Papers give one run for each row, and re-runs of one FCOS recipe differ by 0.2 to 0.7 AP (mmdetection PR
# 4370): a smaller difference in a paper is no clear one.
RERUN_NOISE = 0.007
_POWER = f"a power of {format_share(POWER)} at this size and spread"

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
    """Return the direction that the test shows, or why it shows none."""
    return classify_test(comparison.test, comparison.margin)


def describe_outcome(comparison: Comparison, baseline: str) -> str:
    """Return the outcome in words: `higher than none: +3.1 AP, 95 % interval +1.2 to +5.0 over 8 pairs`."""
    outcome, metric, pairs = classify(comparison), comparison.metric, comparison.num_pairs
    if pairs == 0:
        return f"too few seeds to tell: no seed has finished in both this arm and {baseline}"
    size = f"{format_difference(comparison.difference, metric)} {shorten_metric(metric)}"
    interval = format_interval(comparison.test.low, comparison.test.high, metric)
    statistics = f"{size}, {format_confidence(comparison.test.level)} interval {interval} over {pairs} pairs"
    match outcome:
        case "higher" | "lower":
            return f"{outcome} than {baseline}: {statistics}"
        case "equal":
            margin = f"{format_number(comparison.margin, metric)} {shorten_metric(metric)}"
            return f"no difference above {margin} to {baseline}: {statistics}"
        case "identical":
            on_metric = f"its settings have no effect on {shorten_metric(metric)} here"
            return f"identical to {baseline} in all {pairs} pairs: {on_metric}"
        case "not shown":
            return f"no difference to {baseline} shown: {statistics}; {describe_pairs_needed(comparison)}"
        case _:
            return f"too few seeds to tell: {size}{describe_range(comparison)}; {describe_pairs_needed(comparison)}"


def describe_range(comparison: Comparison, noun: str = "pair") -> str:
    """Return the range of pairs that are too few for an interval, and the direction that all of them share.

    noun: what a pair is called.
    """
    if comparison.num_pairs == 1:
        return f" in a single {noun}"
    if comparison.test.is_identical:
        return f", exactly zero in all {comparison.num_pairs} {noun}s"
    extent = format_interval(comparison.smallest, comparison.largest, comparison.metric)
    direction = {comparison.num_pairs: ", higher in each", 0: ", lower in each"}.get(comparison.num_higher, "")
    shared = direction if comparison.smallest * comparison.largest > 0 else ""
    return f", {extent} in {comparison.num_pairs} {noun}s{shared}"


def describe_pairs_needed(comparison: Comparison, noun: str = "pair") -> str:
    """Return the fewest pairs that can decide, and about how many find this difference in most sweeps."""
    pairs, fewest, needed = comparison.num_pairs, find_fewest_pairs(comparison.test.level), comparison.pairs_needed
    if fewest is not None and pairs < fewest:
        rule = f"{format_count(pairs, noun)} cannot decide, at least {fewest} are needed"
        return rule if needed is None or needed <= fewest else f"{rule}, about {needed} for {_POWER}"
    if needed is None:
        return f"more than {MAX_PAIRS} {noun}s would be needed for {_POWER}"
    return f"about {max(needed, pairs + 1)} {noun}s would be needed for {_POWER}"


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
    is_inside = comparison.test.low <= difference <= comparison.test.high
    return is_inside or abs(comparison.difference - difference) <= RERUN_NOISE


def compare_with_paper(comparison: Comparison, difference: float) -> Agreement:
    """Return whether our direction is the paper's, where both are clear.

    difference: between the paper's two rows, a fraction of AP.
    """
    paper_outcome = "equal" if not _is_clear(difference) else ("higher" if difference > 0 else "lower")
    low, high = comparison.test.low, comparison.test.high
    match outcome := classify(comparison):
        case "higher" | "lower" if paper_outcome == "equal":
            # Clear of zero is not enough: only a difference beyond the noise of re-runs contradicts "none".
            return "differs" if low > RERUN_NOISE or high < -RERUN_NOISE else "cannot tell"
        case "higher" | "lower":
            return "agrees" if outcome == paper_outcome else "contradicts"
        case "equal" | "identical" if paper_outcome == "equal":
            return "agrees"
        case "identical":
            return "contradicts"
        case "equal":
            return "cannot tell" if low <= difference <= high else "contradicts"
        case _:
            return "cannot tell"
