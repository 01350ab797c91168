"""The names of metrics are those that are really given, and each has its better end."""

import json
from pathlib import Path

import pytest
import torch

from fcos.annotations.annotations import Annotations, read_annotations
from fcos.config.run import Config
from fcos.evaluation.class_keys import keys_without_ground_truth
from fcos.evaluation.coco import coco_metrics
from fcos.evaluation.metric_names import COCO_METRICS, analysis_metric_names
from fcos.metrics import better_end, reported_metrics
from fcos.storage.run_folder import BestEvaluation
from fcos.structures import Detections
from fcos.training.best import improved
from orchestration.config.compose import compose

NOTHING = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))


def config_of(*overrides: str) -> Config:
    return compose(overrides).training


def annotated(folder: Path, *boxes: tuple[int, float, int]) -> Annotations:
    """One image with squares of (category, area, iscrowd)."""
    path = folder / "instances.json"
    rows = [
        {"id": number, "image_id": 1, "category_id": label, "bbox": [0, 0, side, side], "area": area, "iscrowd": crowd}
        for number, (label, area, crowd) in enumerate(boxes, start=1)
        for side in [area**0.5]
    ]
    names = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    images = [{"id": 1, "file_name": "1.jpg", "width": 400, "height": 400}]
    path.write_text(json.dumps({"images": images, "annotations": rows, "categories": names}))
    return read_annotations(path)


@pytest.mark.parametrize(
    "boxes",
    [
        [(1, 100.0, 0)],
        [(1, 32.0**2, 0), (2, 50.0**2, 1)],
        [(2, 96.0**2, 0), (1, 200.0, 1)],
        [(1, 100.0, 0), (2, 50.0**2, 0), (1, 200.0**2, 0)],
    ],
)
def test_what_has_no_truth_is_what_the_evaluation_leaves_out(
    tmp_path: Path, boxes: list[tuple[int, float, int]]
) -> None:
    annotations = annotated(tmp_path, *boxes)
    given = set(coco_metrics(annotations, {1: NOTHING}))
    names = {f"val/{name}" for name in COCO_METRICS} | {"val/class_AP/cat", "val/class_AP/dog"}
    assert keys_without_ground_truth(annotations) == names - given


def test_of_anchors_recall_is_all_that_is_reported() -> None:
    anchors = config_of("++task=coverage", "++coverage.assignment=retinanet")
    assert reported_metrics(anchors) == ("coverage/bpr", "coverage/num_boxes")


def test_an_analysis_is_reported_where_it_is_configured() -> None:
    assert "val/errors/class" not in reported_metrics(config_of())
    assert "val/errors/class" in reported_metrics(config_of("++model.postprocess.analyses=[errors]"))


@pytest.mark.parametrize(
    ("metric", "end"),
    [
        ("val/AP", "max"),
        ("val/ARl", "max"),
        ("val/class_AP/cat", "max"),
        ("val/errors/AP50", "max"),
        ("val/errors/missed", "min"),
        ("val/score_iou/calibration_error", "min"),
        ("val/score_iou/iou_of_0.3", None),
        ("train/loss", "min"),
        ("train/loss_quality_excess", "min"),
        ("train/loss_quality_floor", None),
        ("train/lr", None),
        ("train/images_per_second", "max"),
        ("train/memory_gb", "min"),
        ("coverage/bpr", "max"),
        ("coverage/claims_3plus", "min"),
        ("coverage/ambiguous_different", "min"),
        ("coverage/num_boxes", None),
        ("coverage/positives_P3", None),
    ],
)
def test_the_better_end_of_a_metric(metric: str, end: str | None) -> None:
    assert better_end(metric) == end


def test_every_number_of_evaluations_but_a_few_has_a_better_end() -> None:
    without = {name for name in analysis_metric_names() if better_end(name) is None}
    assert {name.rsplit("/", 1)[0] for name in without} == {"val/score_iou", "val/ambiguous"}
    assert all(better_end(f"val/{name}") == "max" for name in COCO_METRICS)


def best_at(metric: str, step: int, value: float) -> BestEvaluation:
    return BestEvaluation(metric=metric, step=step, value=value, checkpoint=f"checkpoints/step_{step:08d}")


@pytest.mark.parametrize(
    ("metric", "value", "before", "is_better"),
    [
        ("val/AP", 0.4, 0.3, True),
        ("val/AP", 0.3, 0.3, False),
        ("val/AP", float("nan"), 0.3, False),
        ("val/AP", float("nan"), None, False),
        ("val/errors/missed", 0.2, 0.3, True),
        ("val/errors/missed", 0.4, 0.3, False),
        ("val/errors/missed", float("-inf"), 0.3, False),
    ],
)
def test_the_best_evaluation_is_at_the_better_end(
    metric: str, value: float, before: float | None, is_better: bool
) -> None:
    known = None if before is None else best_at(metric, 6, before)
    found = improved(metric, 12, {"arm": {metric: value}}, known)
    assert found == (best_at(metric, 12, value) if is_better else None)
