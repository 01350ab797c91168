"""Analyses on a few boxes with known answers, and compared with pycocotools."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fcos.annotations.annotations import Annotations, read_annotations
from fcos.config.choices import Analysis
from fcos.evaluation.analyses import analyse
from fcos.evaluation.error_kinds import CLASS, CORRECT, DUPLICATE, IN_CROWD, LOCALISATION, OTHER
from fcos.evaluation.overlaps import compute_overlaps
from fcos.evaluation.tide import classify_errors
from fcos.structures import Detections

ALL: tuple[Analysis, ...] = ("class_agnostic", "proposals", "score_iou", "ambiguous", "errors")
# xywh, class, crowd
BOXES = [((10, 10, 40, 40), 0, 0), ((100, 10, 40, 40), 1, 0), ((10, 100, 40, 40), 1, 0), ((100, 100, 60, 60), 0, 1)]


def annotated(folder: Path, boxes: list[Any], images: int = 1) -> tuple[Annotations, Path]:
    """Write images that all have the same boxes."""
    entries = [
        {
            "id": image * len(boxes) + number + 1, "image_id": image + 1, "category_id": 7 + label,
            "bbox": list(xywh), "area": xywh[2] * xywh[3], "iscrowd": crowd,
        }
        for image in range(images)
        for number, (xywh, label, crowd) in enumerate(boxes)
    ]  # fmt: skip
    content = {
        "images": [{"id": i + 1, "file_name": f"{i}.jpg", "width": 200, "height": 200} for i in range(images)],
        "annotations": entries,
        "categories": [{"id": 7, "name": "disc"}, {"id": 8, "name": "ring"}],
    }
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return read_annotations(path), path


def make_detections(*rows: tuple[tuple[float, ...], int, float]) -> Detections:
    """Return detections from rows of xywh, class, score; best first."""
    xywh = torch.tensor([row[0] for row in rows], dtype=torch.float32).reshape(-1, 4)
    boxes = torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], dim=1)
    return Detections(boxes, torch.tensor([row[2] for row in rows]), torch.tensor([row[1] for row in rows]).long())


CORRECT_ONLY = make_detections(((10, 10, 40, 40), 0, 0.95), ((100, 10, 40, 40), 1, 0.85), ((10, 100, 40, 40), 1, 0.75))
MIXED = make_detections(
    ((10, 10, 40, 40), 0, 0.9),  # right
    ((11, 10, 40, 40), 0, 0.8),  # its duplicate
    ((100, 10, 40, 40), 0, 0.7),  # right place, wrong class
    ((30, 100, 40, 40), 1, 0.6),  # right class, a third of the place
    ((160, 10, 30, 30), 0, 0.5),  # nothing there
    ((110, 110, 30, 30), 0, 0.4),  # in a crowd
)


def test_each_kind_of_error_is_classified(tmp_path: Path) -> None:
    annotations, _ = annotated(tmp_path, BOXES)
    (image,) = compute_overlaps(annotations, {1: MIXED})
    kinds, box_index = classify_errors(image)
    assert kinds.tolist() == [CORRECT, DUPLICATE, CLASS, LOCALISATION, OTHER, IN_CROWD]
    assert box_index.tolist() == [0, 0, 1, 2, -1, -1]


def test_correcting_each_kind_gains_its_cost(tmp_path: Path) -> None:
    annotations, _ = annotated(tmp_path, BOXES)
    numbers = analyse(annotations, {1: MIXED}, ["errors"])
    # disc: its best detection is correct; ring: no correct detection.
    assert numbers["val/errors/AP50"] == pytest.approx(0.5)
    # One of the two rings becomes correct, with no false positive before it.
    assert numbers["val/errors/localisation"] == pytest.approx(51 / 101 / 2, abs=1e-3)
    assert numbers["val/errors/class"] == pytest.approx(51 / 101 / 2, abs=1e-3)
    # The disc was detected before any false positive.
    assert numbers["val/errors/duplicate"] == numbers["val/errors/background"] == 0
    # Both rings have a detection that is wrong in position or class only.
    assert numbers["val/errors/missed"] == 0


def test_false_detections_above_a_true_one_and_missed_boxes_cost_ap(tmp_path: Path) -> None:
    annotations, _ = annotated(tmp_path, BOXES[:3])
    detections = make_detections(((160, 160, 30, 30), 0, 0.99), ((10, 10, 40, 40), 0, 0.9), ((100, 10, 40, 40), 1, 0.8))
    numbers = analyse(annotations, {1: detections}, ["errors"])
    assert numbers["val/errors/AP50"] == pytest.approx((0.5 + 51 / 101) / 2, abs=1e-3)
    assert numbers["val/errors/background"] == pytest.approx(0.25)
    assert numbers["val/errors/missed"] == pytest.approx(50 / 101 / 2, abs=1e-3)
    without_detections = analyse(annotations, {1: make_detections()}, ["errors"])
    assert without_detections["val/errors/missed"] == 1 and without_detections["val/errors/AP50"] == 0


def test_a_detection_is_meant_once(tmp_path: Path) -> None:
    annotations, _ = annotated(tmp_path, BOXES[:1])
    twice = make_detections(((30, 10, 40, 40), 0, 0.9), ((10, 30, 40, 40), 0, 0.8))
    assert analyse(annotations, {1: twice}, ["errors"])["val/errors/localisation"] == pytest.approx(1)


def test_correct_detections_are_perfect_in_every_analysis(tmp_path: Path) -> None:
    annotations, _ = annotated(tmp_path, BOXES)
    numbers = analyse(annotations, {1: CORRECT_ONLY}, ALL)
    for key in ("class_agnostic/AP", "class_agnostic/AP90", "proposals/AR100", "proposals/AR1k", "errors/AP50"):
        assert numbers[f"val/{key}"] == pytest.approx(1), key
    assert numbers["val/score_iou/overconfident"] == 0
    assert numbers["val/score_iou/calibration_error"] == pytest.approx(0.15, abs=1e-6)
    assert numbers["val/score_iou/iou_of_0.9"] == 1 and "val/score_iou/iou_of_0.1" not in numbers
    # Every IoU is 1, so there is no correlation.
    assert "val/score_iou/pearson" not in numbers


def test_analyses_work_without_detections_or_ground_truth(tmp_path: Path) -> None:
    annotations, _ = annotated(tmp_path, BOXES)
    assert analyse(annotations, {1: make_detections()}, ALL)["val/proposals/AR1k"] == 0
    empty, _ = annotated(tmp_path, [])
    numbers = analyse(empty, {1: CORRECT_ONLY}, ALL)
    assert not any("AP" in key or "AR" in key for key in numbers)
    assert numbers["val/score_iou/overconfident"] == 1


def test_crowds_ignore_detections_of_their_class(tmp_path: Path) -> None:
    annotations, _ = annotated(tmp_path, BOXES)
    inside = make_detections(((110, 110, 30, 30), 0, 0.9), ((110, 110, 30, 30), 1, 0.9))
    (image,) = compute_overlaps(annotations, {1: inside})
    assert image.in_crowd.tolist() == [True, False]
    assert not image.iou[:, 3].any()


def test_correlation_is_of_scores_with_ious(tmp_path: Path) -> None:
    annotations, _ = annotated(tmp_path, BOXES[:1])
    good = make_detections(((10, 10, 40, 40), 0, 0.9), ((14, 10, 40, 40), 0, 0.6), ((22, 10, 40, 40), 0, 0.3))
    iou = [1.0, 36 / 44, 28 / 52]
    numbers = analyse(annotations, {1: good}, ["score_iou"])
    assert numbers["val/score_iou/spearman"] == pytest.approx(1)
    assert numbers["val/score_iou/pearson"] == pytest.approx(np.corrcoef([0.9, 0.6, 0.3], iou)[0, 1], abs=1e-6)
    expected = np.mean([abs(s - i) for s, i in zip([0.9, 0.6, 0.3], iou, strict=True)])
    assert numbers["val/score_iou/calibration_error"] == pytest.approx(expected, abs=1e-6)


def test_ambiguous_fractions_are_of_all_detections(tmp_path: Path) -> None:
    annotations, _ = annotated(tmp_path, BOXES)
    marked = Detections(CORRECT_ONLY.boxes, CORRECT_ONLY.scores, CORRECT_ONLY.labels, ambiguity=torch.tensor([0, 1, 2]))
    numbers = analyse(annotations, {1: marked}, ["ambiguous"])
    assert numbers == pytest.approx(
        {"val/ambiguous/detections": 2 / 3, "val/ambiguous/detections_of_different_classes": 1 / 3}
    )


def test_class_agnostic_metrics_equal_pycocotools(tmp_path: Path) -> None:
    annotations, path = annotated(tmp_path, BOXES, images=3)
    generator = np.random.default_rng(0)
    detections, results = {}, []
    for image in (1, 2, 3):
        rows = []
        for xywh, label, _ in BOXES * 4:
            box = np.array(xywh) + generator.normal(0, 4, 4)
            rows.append((tuple(float(side) for side in box), int(generator.integers(2)), float(generator.random())))
            results.append({"image_id": image, "category_id": 7 + label, "bbox": box.tolist(), "score": rows[-1][2]})
        detections[image] = make_detections(*sorted(rows, key=lambda row: -row[2]))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        evaluator = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluator.params.useCats, evaluator.params.maxDets = 0, [1, 10, 100]
        evaluator.evaluate(), evaluator.accumulate(), evaluator.summarize()
    numbers = analyse(annotations, detections, ["class_agnostic", "proposals"])
    ours = [numbers[f"val/{key}"] for key in ("class_agnostic/AP", "class_agnostic/AP50", "class_agnostic/AP75")]
    assert ours == pytest.approx(list(evaluator.stats[:3]), abs=1e-4)
    assert numbers["val/proposals/AR100"] == pytest.approx(evaluator.stats[8], abs=1e-4)
