"""What a small sweep declares: arms, results by seed, rows of the papers."""

from collections.abc import Mapping, Sequence
from typing import Any

HOSTILE = "<script>alert(1)</script>|*x*"
# AP of seeds 0, 1, 2; None fails half-way.
PLAN: Mapping[str, Sequence[float | None]] = {
    "none": (0.460, 0.430, 0.470),
    "branch": (0.491, 0.462, 0.505),
    HOSTILE: (0.462, 0.428, None),
}
EXPERIMENT: Mapping[str, Any] = {
    "name": "ablation_centerness",
    "claim": "A predicted center-ness in the score lifts AP.",
    "baseline": "none",
    "arms": {arm: {"model.head.quality": "none"} for arm in PLAN},
    "seeds": [0, 1, 2],
    "metrics": ["val/AP", "val/AP50"],
    "paper": {
        "none": ["v1.table4.none", "v2.table4.none"],
        "branch": ["v1.table4.branch", "v2.table4.branch"],
        HOSTILE: ["v1.table4.from_regression", "v2.table4.from_regression"],
    },
}
