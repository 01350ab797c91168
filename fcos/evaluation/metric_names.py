"""Names of the metrics of an evaluation.

Apart from their computation, because a driver needs the names without torchvision, whose import takes seconds.
"""

from collections.abc import Mapping
from typing import Final

from fcos.config.choices import Analysis

COCO_METRICS: Final = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
# IoU thresholds of class-agnostic AP; v1's Table 7 has 50, 75 and 90.
AGNOSTIC_THRESHOLDS: Final = (0.5, 0.6, 0.7, 0.75, 0.8, 0.9)
# Proposals per image -> metric name.
PROPOSAL_LIMITS: Final = {100: "AR100", 1000: "AR1k"}
# Bins of the score, for its calibration against IoU.
SCORE_BINS: Final = 10
# TIDE's kinds of wrong detections.
ERROR_KINDS: Final = ("localisation", "class", "duplicate", "background")
# Metric names of each analysis, without the prefix val/<analysis>/.
ANALYSIS_METRICS: Final[Mapping[Analysis, tuple[str, ...]]] = {
    "class_agnostic": ("AP", *(f"AP{round(100 * threshold)}" for threshold in AGNOSTIC_THRESHOLDS)),
    "proposals": tuple(PROPOSAL_LIMITS.values()),
    "score_iou": (
        *("pearson", "spearman", "calibration_error", "overconfident"),
        *(f"iou_of_{bin_ / SCORE_BINS:.1f}" for bin_ in range(SCORE_BINS)),
    ),
    "ambiguous": ("detections", "detections_of_different_classes"),
    "errors": ("AP50", *ERROR_KINDS, "missed"),
    "cost": ("parameters", "multiply_adds", "latency_ms"),
}


def analysis_metric_names() -> dict[str, Analysis]:
    """Return every metric val/<analysis>/<number> that an analysis can give, with its analysis."""
    return {
        f"val/{analysis}/{number}": analysis for analysis, numbers in ANALYSIS_METRICS.items() for number in numbers
    }
