"""Names of the metrics that a run can report, and which end of each is better."""

from collections.abc import Iterable
from typing import Literal

from fcos.config.run import Config
from fcos.coverage.figure_names import figure_names
from fcos.evaluation.metric_names import COCO_METRICS, analysis_metric_names

Mode = Literal["max", "min"]
CLASS_PREFIX = "val/class_AP/"
MEMORY = "train/memory_gb"
# Names of a training step's terms, without the prefix train/.
TERMS = (
    "loss", "loss_classification", "loss_regression", "loss_quality", "positives_per_image",
    # The lower bound of the quality loss (the entropy of its targets), and the excess over it.
    "loss_quality_floor", "loss_quality_excess",
)  # fmt: skip
# Prefix of a name -> its better end; the longest matching prefix counts, and names without one have no better end.
_BETTER: dict[str, Mode | None] = {
    "val/AP": "max",
    "val/AR": "max",
    CLASS_PREFIX: "max",
    "val/class_agnostic/": "max",
    "val/proposals/": "max",
    "val/score_iou/pearson": "max",
    "val/score_iou/spearman": "max",
    "val/score_iou/calibration_error": "min",
    "val/score_iou/overconfident": "min",
    # The gain of AP50 from correcting a kind of error.
    "val/errors/": "min",
    "val/errors/AP50": "max",
    "val/cost/": "min",
    "train/loss": "min",
    # A property of the targets, which no training changes.
    "train/loss_quality_floor": None,
    "train/images_per_second": "max",
    MEMORY: "min",
    "coverage/bpr": "max",
    "coverage/evenness": "max",
    "coverage/objective": "max",
    "coverage/claims_1": "max",
    "coverage/claims_2": "min",
    "coverage/claims_3plus": "min",
    "coverage/ambiguous": "min",
}


def better_end(metric: str) -> Mode | None:
    """Return whether more or less of a metric is better; None for neither."""
    prefixes = [start for start in _BETTER if metric.startswith(start)]
    return _BETTER[max(prefixes, key=len)] if prefixes else None


def reported_metrics(config: Config) -> tuple[str, ...]:
    """Return every metric that a run of this configuration reports, but for APs of classes."""
    if config.task == "coverage":
        return figure_names(config.model.levels, config.coverage)
    by_analysis = analysis_metric_names()
    requested = config.model.postprocess.analyses
    return (
        *(f"val/{name}" for name in COCO_METRICS),
        *(metric for metric, analysis in by_analysis.items() if analysis in requested),
        *(f"train/{name}" for name in (*TERMS, "lr", "images_per_second")),
        MEMORY,
    )


def analysis_metrics(configs: Iterable[Config]) -> dict[str, str]:
    """Return metric -> analysis of all analyses that the configurations could request."""
    if any(config.task == "train" for config in configs):
        return {metric: str(analysis) for metric, analysis in analysis_metric_names().items()}
    return {}
