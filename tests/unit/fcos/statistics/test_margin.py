"""The margin in points of AP is about average precision and recall alone."""

import pytest

from fcos.evaluation.metric_names import COCO_METRICS, analysis_metric_names
from fcos.statistics.margin import margin_of


@pytest.mark.parametrize("name", COCO_METRICS)
def test_cocos_twelve_numbers_have_the_margin(name: str) -> None:
    assert margin_of(f"val/{name}", 0.01) == 0.01


def test_of_the_analyses_those_that_are_precision_or_recall_have_it() -> None:
    with_margin = {name for name in analysis_metric_names() if margin_of(name, 1.0) is not None}
    assert {name.rsplit("/", 1)[0] for name in with_margin} == {"val/class_agnostic", "val/proposals", "val/errors"}
    assert {name for name in with_margin if name.startswith("val/errors/")} == {"val/errors/AP50"}
    assert {"val/proposals/AR1k", "val/class_agnostic/AP75"} <= with_margin


@pytest.mark.parametrize("metric", ["val/class_AP/AP", "val/class_AP/a/b", "val/class_AP/error"])
def test_the_ap_of_a_class_has_it_whatever_its_name(metric: str) -> None:
    assert margin_of(metric, 0.02) == 0.02


@pytest.mark.parametrize(
    "metric",
    ["train/loss", "val/errors/missed", "val/score_iou/calibration_error", "val/APx", "coverage/bpr", "val/nothing"],
)
def test_losses_errors_and_other_scales_have_none(metric: str) -> None:
    assert margin_of(metric, 0.01) is None
