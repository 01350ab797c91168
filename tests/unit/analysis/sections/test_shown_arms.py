"""Of many arms those with the largest differences are drawn, and a note has the rest."""

import math

from analysis.sections.shown_arms import MOST_ARMS, choose_shown_arms
from analysis.stats.comparison import Comparison
from fcos.statistics.holm import ArmTest

ARMS = ["base", *(f"a{number:03d}" for number in range(100))]


def comparison(arm: str, difference: float, metric: str = "val/AP") -> Comparison:
    return Comparison(metric, arm, ArmTest(5, -math.inf, math.inf, 0.05, 1.0, 1.0, False), difference=difference)


def test_few_arms_are_all_shown() -> None:
    shown = choose_shown_arms(ARMS[:MOST_ARMS], [], "base", "val/AP")
    assert shown.arms == tuple(ARMS[:MOST_ARMS]) and shown.notes == ()


def test_the_baseline_and_the_largest_differences_of_either_sign_are_shown_in_the_order_of_the_sweep() -> None:
    differences = {arm: (-1) ** number * number / 1000 for number, arm in enumerate(ARMS)}
    # Without a pair there is no difference; another metric decides nothing.
    differences["a099"] = math.nan
    compared = [comparison(arm, each) for arm, each in differences.items() if arm != "base"]
    compared += [comparison("a001", 1.0, "val/AP50")]
    shown = choose_shown_arms(ARMS, compared, "base", "val/AP")
    assert shown.arms == ("base", *ARMS[-MOST_ARMS:-1])
    (note,) = shown.notes
    assert f"all {len(ARMS)} arms" in note and f"have {MOST_ARMS} of them: base and those with the largest" in note


def test_arms_that_are_not_compared_are_shown_from_the_first_on() -> None:
    shown = choose_shown_arms(ARMS, [], None, "val/AP")
    assert shown.arms == tuple(ARMS[:MOST_ARMS]) and "the first ones" in shown.notes[0]
