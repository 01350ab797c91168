"""Lines of a report on the test behind its verdicts: method, looks, levels, what pairing gains."""

import math
from collections.abc import Sequence

from analysis.formatting import format_confidence, format_count, format_number, join_words, shorten_metric
from analysis.stats.comparison import Comparison, ComparisonDesign
from fcos.statistics.holm import FAMILY_LEVEL
from fcos.statistics.sign_flip import find_fewest_pairs

_FAMILY = f"{100 * FAMILY_LEVEL:.0f} %"


def describe_test(tested: Sequence[Comparison], design: ComparisonDesign | None) -> list[str]:
    """Return how the arms were compared with the baseline; nothing without arms beside it."""
    if design is None or not tested:
        return []
    return [
        f"Each arm is compared with {design.baseline} seed by seed: arms of one seed start from the same weights and "
        "see the same images in the same order, so that the effect of the seed cancels out.",
        f"One test decides, on {shorten_metric(design.metric)} alone: an exact sequential sign-flip test, which takes "
        "the differences as symmetric and nothing else. Verdict, interval and p are its results; other metrics are "
        "described, with an uncorrected interval each.",
        describe_looks(design),
        describe_levels(tested),
        *describe_margin(tested[0]),
        *(line for comparison in tested if (line := _describe_pairing(comparison, design.baseline))),
    ]


def describe_looks(design: ComparisonDesign) -> str:
    """Return after how many seeds decisions were taken."""
    looks = [look for look in design.looks if look < len(design.seeds)]
    if not looks:
        return f"One look, after {format_count(len(design.seeds), 'seed')}; seeds added later are another look."
    numbers = join_words([*looks, len(design.seeds)])
    return f"Looks after {numbers} seeds: a false verdict at any of them has a probability of at most {_FAMILY}."


def describe_levels(tested: Sequence[Comparison], noun: str = "arm", pair: str = "pair") -> str:
    """Return the correction for several tests, and how many pairs can decide.

    noun: what is tested. pair: what a difference is from.
    """
    fewest = find_fewest_pairs(FAMILY_LEVEL / len(tested))
    least = "" if fewest is None else f" At least {fewest} {pair}s can decide"
    if len(tested) == 1:
        return f"One {noun}, tested at {_FAMILY}.{least}."
    levels = sorted({comparison.test.level for comparison in tested}, reverse=True)
    confidences = join_words([format_confidence(level) for level in levels])
    return (
        f"{len(tested)} {noun}s, corrected by Holm's procedure to {_FAMILY} for all of them; each interval has "
        f"the confidence at which its {noun} was tested ({confidences}).{least} for the first of them."
    )


def describe_margin(comparison: Comparison) -> list[str]:
    """Return the largest difference that does not matter; nothing for a metric without one."""
    if comparison.margin is None:
        return []
    margin = f"{format_number(comparison.margin, comparison.metric)} {shorten_metric(comparison.metric)}"
    return [f"No difference of note: the interval lies within {margin} of zero (experiment.margin)."]


def _describe_pairing(comparison: Comparison, baseline: str) -> str:
    """Return what pairing gained for an arm; "" where too few pairs cannot show it."""
    gain = comparison.pairing
    if gain is None:
        return ""
    digits = 1 if gain.seeds_replaced < 10 else 0
    worth = "any number of" if math.isinf(gain.seeds_replaced) else f"about {gain.seeds_replaced:.{digits}f}"
    return (
        f"{comparison.arm}: correlation with {baseline} {gain.correlation:.2f} over "
        f"{format_count(comparison.num_pairs, 'seed')}; a paired seed replaces {worth} unpaired ones."
    )
