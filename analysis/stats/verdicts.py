"""What the statistics allow to say, in words: against the baseline, and beside the papers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from analysis.formatting import format_difference, format_interval, format_number, shorten_metric
from analysis.papers.recipe import departures
from analysis.papers.rows import PaperRow

# Of val/ metrics: a 95 % interval that includes zero shows that there is no difference of note where it lies
# within +-1.0 AP; a wider one shows nothing.
MARGIN = 0.010
# What is printed as 0.0 in percent; however sure, it is no difference that anybody reads.
UNSEEN = 0.0005
# Papers give one run for each row, and re-runs of one FCOS recipe differ by 0.2 to 0.7 AP (mmdetection PR
# 4370): a smaller printed difference is no clear one.
NOISE = 0.007
# An exact sign-flip test of fewer pairs can never reach p <= 0.05 (2 / 2**6 = 0.03).
MIN_PAIRS_FOR_ABSENCE = 6

Evidence = Literal["higher", "lower", "equal", "identical", "not shown", "too few"]
Agreement = Literal["reproduced", "not reproduced", "agrees", "contradicts", "differs", "cannot tell"]


@dataclass(frozen=True)
class PaperVerdict:
    """How a paired difference stands beside the difference of the same two rows in one table of a paper."""

    source: str
    difference: float
    agreement: Agreement
    text: str


@dataclass(frozen=True)
class Verdict:
    """What one arm shows against the baseline in one metric."""

    arm: str
    metric: str
    evidence: Evidence
    text: str
    paper: tuple[PaperVerdict, ...]


def weigh(comparison: Mapping[str, Any], metric: str) -> Evidence:
    """The direction that the pairs show, or why they show none."""
    pairs, low, high = int(comparison["num_pairs"]), comparison["low"], comparison["high"]
    if pairs < 2:
        return "too few"
    if low == high:
        # Equal in every pair: the arms do the same thing. Any other constant has no spread to judge by.
        return "identical" if abs(low) < 1e-12 else "too few"
    if _is_ap(metric) and max(-low, high) < UNSEEN:
        return "equal"
    if low > 0 or high < 0:
        return "higher" if low > 0 else "lower"
    if _is_ap(metric) and max(-low, high) <= MARGIN:
        return "equal"
    return "too few" if pairs < MIN_PAIRS_FOR_ABSENCE else "not shown"


def _is_ap(metric: str) -> bool:
    return metric.startswith("val/")


def describe(comparison: Mapping[str, Any], metric: str, baseline: str) -> tuple[Evidence, str]:
    """The evidence, and words: `higher than none: +3.1 AP, 95 % interval +1.2 to +5.0 over 3 pairs`."""
    evidence = weigh(comparison, metric)
    pairs = int(comparison["num_pairs"])
    if pairs == 0:
        return evidence, f"too few seeds to tell: no seed has finished in both this arm and {baseline}"
    size = f"{format_difference(comparison['difference'], metric)} {shorten_metric(metric)}"
    if pairs == 1:
        return evidence, f"too few seeds to tell: {size} in a single pair, which has no interval"
    bounds = format_interval(comparison["low"], comparison["high"], metric)
    tail = f"{size}, 95 % interval {bounds} over {pairs} pairs"
    match evidence:
        case "higher" | "lower":
            return evidence, f"{evidence} than {baseline}: {tail}"
        case "equal":
            least = f"{format_number(MARGIN, metric)} {shorten_metric(metric)}"
            return evidence, f"no difference above {least} to {baseline}: {tail}"
        case "identical":
            return (
                evidence,
                f"identical to {baseline} in all {pairs} pairs: the arms' settings have no effect here",
            )
        case "not shown":
            return evidence, f"no difference to {baseline} shown: {tail}"
        case _:
            return evidence, f"too few seeds to tell: {tail}{_leaning(comparison)}"


def _leaning(comparison: Mapping[str, Any]) -> str:
    """What undecided pairs have in common, and how many would decide."""
    pairs, higher = int(comparison["num_pairs"]), int(comparison["num_higher"])
    side = {pairs: "higher", 0: "lower"}.get(higher)
    needed = comparison["pairs_needed"]
    if side is None or math.isnan(needed) or needed <= pairs:
        return ""
    return f"; {side} in every pair, and about {needed:.0f} pairs with this spread would settle it"


def judge(
    comparison: Mapping[str, Any],
    metric: str,
    baseline: str,
    rows: Mapping[str, Mapping[str, PaperRow]],
    finished: pd.DataFrame,
) -> Verdict:
    """The verdict on one row of comparison.compare, beside every table that has rows of both arms."""
    arm = str(comparison["arm"])
    evidence, text = describe(comparison, metric, baseline)
    theirs = rows.get(baseline, {})
    pairs = [
        (theirs[source], ours)
        for source, ours in rows.get(arm, {}).items()
        if source in theirs and metric in ours.metrics and metric in theirs[source].metrics
    ]
    beside = tuple(
        _beside(comparison, metric, evidence, ours, ours.metrics[metric] - base.metrics[metric], finished)
        for base, ours in pairs
    )
    return Verdict(arm, metric, evidence, text, beside)


def _beside(
    comparison: Mapping[str, Any],
    metric: str,
    evidence: Evidence,
    row: PaperRow,
    difference: float,
    finished: pd.DataFrame,
) -> PaperVerdict:
    agreement = agree(comparison, evidence, difference)
    if agreement != "cannot tell" and not departures(finished, row):
        same = agreement == "agrees" and _same_size(comparison, difference)
        agreement = "reproduced" if same else "not reproduced"
    clear = _is_clear(difference)
    words = agreement + (" in direction" if agreement == "agrees" and clear else "")
    if agreement == "differs":
        words += f", ours is clearly {evidence}"
    if agreement == "cannot tell" and clear and _every_pair_leans(comparison, difference):
        words += ", though every pair leans the same way"
    text = f"{row.source} ({format_difference(difference, metric)}{'' if clear else ', no clear difference'}): {words}"
    return PaperVerdict(row.source, difference, agreement, text)


def _every_pair_leans(comparison: Mapping[str, Any], difference: float) -> bool:
    pairs, higher = int(comparison["num_pairs"]), int(comparison["num_higher"])
    return pairs >= 2 and higher == (pairs if difference > 0 else 0)


def _is_clear(difference: float) -> bool:
    # Printed with one decimal: 0.7 AP counts, whatever the subtraction of floats left of it.
    return round(abs(difference), 4) >= NOISE


def _same_size(comparison: Mapping[str, Any], difference: float) -> bool:
    low, high, ours = (float(comparison[key]) for key in ("low", "high", "difference"))
    return low <= difference <= high or abs(ours - difference) <= NOISE


def agree(comparison: Mapping[str, Any], evidence: Evidence, difference: float) -> Agreement:
    """Whether our direction is the paper's, where both are clear; differences are fractions of AP."""
    printed = "equal" if not _is_clear(difference) else ("higher" if difference > 0 else "lower")
    low, high = comparison["low"], comparison["high"]
    match evidence:
        case "higher" | "lower" if printed == "equal":
            # Clear of zero, yet only a difference beyond the noise of re-runs is another finding than "none".
            return "differs" if low > NOISE or high < -NOISE else "cannot tell"
        case "higher" | "lower":
            return "agrees" if evidence == printed else "contradicts"
        case "equal" | "identical" if printed == "equal":
            return "agrees"
        case "equal" | "identical":
            return "contradicts" if not math.isnan(low) and not low <= difference <= high else "cannot tell"
        case _:
            return "cannot tell"
