"""Which metrics the margin of an experiment, in points of AP, is about."""

import re

# val/AP50, val/ARs, val/class_agnostic/AP75, val/proposals/AR1k, val/errors/AP50; the APs of classes.
_PRECISION_OR_RECALL = re.compile(r"val/(class_AP/.+|(\w+/)?A[PR](\d+k?|[sml])?)", re.DOTALL)


def margin_of(metric: str, margin: float) -> float | None:
    """Return the margin of an average precision or recall, None for any other metric.

    An error rate, a correlation or a loss has another scale. margin: returned as it is, in the unit of the caller.
    """
    return margin if _PRECISION_OR_RECALL.fullmatch(metric) else None
