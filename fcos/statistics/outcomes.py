"""What the test of an arm shows: a direction, no difference of note, identical, not shown, or too few pairs."""

from typing import Literal

from fcos.statistics.holm import ArmTest
from fcos.statistics.sign_flip import find_fewest_pairs

Outcome = Literal["higher", "lower", "equal", "identical", "not shown", "too few"]
DECIDED: tuple[Outcome, ...] = ("higher", "lower", "equal", "identical")
# A difference of AP (a fraction) below this prints as 0.0 percent.
PRINT_RESOLUTION = 0.0005


def classify_test(test: ArmTest, margin: float | None) -> Outcome:
    """Return the outcome that the interval gives.

    margin: the largest difference that does not matter, None for a metric without one (fcos.statistics.margin). An
    interval within it is two one-sided tests at half of the level each (Schuirmann 1987). In a metric with a margin an
    interval within PRINT_RESOLUTION is no direction, however certain it is. Identical pairs are as many as a direction
    would take: two equal ones may be of detectors that find nothing.
    """
    fewest = find_fewest_pairs(test.level)
    can_decide = fewest is not None and test.num_pairs >= fewest
    if test.is_identical and can_decide:
        return "identical"
    extent = max(-test.low, test.high)
    if test.is_rejected and (margin is None or extent >= PRINT_RESOLUTION):
        return "higher" if test.low > 0 else "lower"
    if margin is not None and (test.is_rejected or extent <= margin):
        return "equal"
    return "not shown" if can_decide else "too few"
