"""The metrics that a run can report, which end of each is better, and which a data set leaves without a value."""

from collections.abc import Iterable
from typing import Literal

from fcos.config.run import Config

Mode = Literal["max", "min"]
CLASS_PREFIX = "val/class_AP/"
MEMORY = "train/memory_gb"
# Of a training step, without their prefix.
TERMS = (
    "loss", "loss_classification", "loss_regression", "loss_quality", "positives_per_image",
    # What no prediction can get the quality loss below, and how far above that it is.
    "loss_quality_floor", "loss_quality_excess",
)  # fmt: skip
# The beginning of a name -> its better end; the longest that fits counts, and what none fits has no better end.
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
    # What mending a kind of error would gain.
    "val/errors/": "min",
    "val/errors/AP50": "max",
    "train/loss": "min",
    # A property of the targets: no detector gets below it.
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
    """Whether more or less of a metric is better; None where neither is."""
    fitting = [start for start in _BETTER if metric.startswith(start)]
    return _BETTER[max(fitting, key=len)] if fitting else None


def reported_metrics(config: Config) -> tuple[str, ...]:
    """Every metric that a run of this configuration reports, but for the APs of the data's own classes."""
    if config.task == "coverage":
        from fcos.coverage.measures import figure_names

        return figure_names(config.model.levels, config.coverage)
    from fcos.evaluation.analyses import metric_names
    from fcos.evaluation.coco import METRICS

    by_analysis = metric_names()
    asked = config.model.postprocess.analyses
    return (
        *(f"val/{name}" for name in METRICS),
        *(metric for metric, analysis in by_analysis.items() if analysis in asked),
        *(f"train/{name}" for name in (*TERMS, "lr", "images_per_second")),
        MEMORY,
    )


def analysis_metrics(configs: Iterable[Config]) -> dict[str, str]:
    """Metric -> the analysis that gives it, of all that the configurations could ask for."""
    if any(config.task == "train" for config in configs):
        from fcos.evaluation.analyses import metric_names

        return {metric: str(analysis) for metric, analysis in metric_names().items()}
    return {}
