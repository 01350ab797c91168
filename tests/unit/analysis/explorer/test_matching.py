"""Matches, average precision and kinds of errors are those of the evaluation that trainings log."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.explorer.curves import SCORES, compute_curves, compute_f1_curve, interpolate_precision
from analysis.explorer.matching import compute_overlaps, match_run
from analysis.explorer.run_results import MAX_DRAWN, compute_run_results, count_confusion
from analysis.explorer.structures import make_truth
from fcos.annotations.annotations import Annotations
from fcos.annotations.coco_results import CocoResults
from fcos.evaluation.class_keys import class_keys
from fcos.evaluation.coco import accumulate, detections_of, result_metrics, results_of
from fcos.evaluation.coco_settings import RECALL_THRESHOLDS
from fcos.evaluation.error_kinds import CORRECT, IN_CROWD, match_greedily
from fcos.evaluation.overlaps import compute_overlaps as compute_image_overlaps
from fcos.evaluation.tide import classify_errors
from tests.helpers.detections.evaluations import random_evaluation
from tests.helpers.detections.weighted_evaluations import make_annotations, tied_evaluation

SEEDS = st.integers(0, 2**32 - 1)
Evaluation = tuple[Annotations, CocoResults]


def with_odd_boxes(seed: int) -> Evaluation:
    """Return an evaluation whose files hold crowds, boxes of zero size and detections outside of the image."""
    with TemporaryDirectory() as name:
        annotations, detections = random_evaluation(Path(name), seed)
    return annotations, results_of(annotations, detections)


def with_many_detections(seed: int) -> Evaluation:
    """Return an evaluation with ties and negative areas, of which a class of an image has more than count."""
    annotations, results = tied_evaluation(seed)
    crowded = np.arange(len(results)).repeat(60)
    return annotations, CocoResults(*(column[crowded] for column in vars(results).values()))


@pytest.mark.parametrize("draw", [with_odd_boxes, tied_evaluation, with_many_detections])
@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_average_precision_by_class_equals_cocos_at_iou_50(draw: Callable[[int], Evaluation], seed: int) -> None:
    annotations, results = draw(seed)
    truth = make_truth(annotations)
    curves = compute_curves(truth, match_run(truth, results))
    detections = detections_of(annotations, results)
    expected = accumulate(annotations, detections, limits=(100,), thresholds=(0.5,)).precision[0, :, :, 0, 0].T
    for precision, cocos in zip(curves.precision, expected, strict=True):
        if cocos[0] < 0:
            assert np.isnan(precision).all()
        else:
            np.testing.assert_allclose(precision, cocos, rtol=0, atol=1e-12)
    metrics = result_metrics(annotations, results)
    if "val/AP50" in metrics:
        assert np.nanmean(curves.class_ap) == pytest.approx(metrics["val/AP50"], abs=1e-12)
    assert len(curves.class_ap) == len(class_keys(annotations))


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_kinds_of_errors_are_those_of_the_error_analysis(seed: int) -> None:
    annotations, results = with_odd_boxes(seed)
    kinds = match_run(make_truth(annotations), results).kind
    images = compute_image_overlaps(annotations, detections_of(annotations, results))
    expected = [classify_errors(image)[0].tolist() for image in images]
    assert kinds.tolist() == [kind for of_image in expected for kind in of_image]


@pytest.mark.parametrize("draw", [with_odd_boxes, tied_evaluation, with_many_detections])
@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_counts_of_a_run_agree_with_each_other(draw: Callable[[int], Evaluation], seed: int) -> None:
    annotations, results = draw(seed)
    truth = make_truth(annotations)
    detections, run = match_run(truth, results), compute_run_results(truth, results)
    kept = detections.scores >= run.curves.threshold
    counted, boxes = kept & detections.counted, int((~truth.ignored).sum())
    assert run.errors["correct"] == run.found.sum() == (detections.kind[kept] == CORRECT).sum()
    assert run.errors["correct"] + run.errors["missed"] == boxes == truth.class_counts.sum()
    assert sum(run.errors.values()) - run.errors["missed"] == counted.sum() == run.class_detected.sum()
    assert run.confusion[:-1].sum() == boxes
    assert run.confusion[:, :-1].sum() == counted.sum()
    total = counted.sum() + boxes
    if total:
        assert run.curves.f1.max() == pytest.approx(2 * run.found.sum() / total)
    assert ((run.image_f1 >= 0) & (run.image_f1 <= 1)).all()
    assert not (run.found & truth.ignored).any()


BOX = [10.0, 10.0, 20.0, 20.0]


def one_image(boxes: list[list[float]], labels: list[int], crowd: list[bool]) -> Annotations:
    return make_annotations(np.array([len(boxes)]), np.array(boxes), np.array(labels), np.array(crowd))


def detect(*rows: tuple[float, int, list[float]]) -> CocoResults:
    """Return detections in the first image: score, label and box."""
    scores, labels, boxes = zip(*rows, strict=True)
    zeros = np.zeros(len(rows), dtype=np.int64)
    return CocoResults(zeros, np.array(labels, dtype=np.int64), np.array(boxes), np.array(scores, dtype=np.float64))


def test_a_box_of_negative_area_is_neither_missed_nor_found_and_its_detection_no_error() -> None:
    annotations = one_image([BOX, [100.0, 100.0, 20.0, 20.0]], [0, 0], [False, False])
    annotations = replace(annotations, areas=np.array([400.0, -1.0]))
    run = compute_run_results(
        make_truth(annotations), detect((0.9, 0, BOX), (0.8, 0, [100.0, 100.0, 20.0, 20.0]), (0.7, 0, BOX))
    )
    assert (run.errors["correct"], run.errors["missed"]) == (1, 0)
    assert run.class_detected.tolist() == [1, 0, 0, 0]


def test_a_detection_in_a_crowd_takes_no_box_of_another_class_from_a_later_one() -> None:
    # The crowd's own detection overlaps a box of class 1, which the second detection finds.
    annotations = one_image([BOX, BOX], [0, 1], [True, False])
    truth, results = make_truth(annotations), detect((0.9, 0, BOX), (0.8, 1, BOX))
    detections = match_run(truth, results)
    assert detections.kind.tolist() == [IN_CROWD, CORRECT]
    assert detections.any_box.tolist() == [-1, 1]
    confusion = count_confusion(truth, detections, np.ones(2, dtype=bool))
    assert confusion[1, 1] == 1 and confusion.sum() == 1


def test_of_an_image_the_best_detections_are_drawn_with_scores_between_0_and_1() -> None:
    annotations = one_image([BOX], [0], [False])
    rows = [(1e308, 0, BOX), *((0.5 + number / 1000, 1, [1e300, 0.0, 5.0, 5.0]) for number in range(80))]
    drawn = compute_run_results(make_truth(annotations), detect(*rows), draws=True).drawn
    assert drawn is not None and len(drawn.scores) <= MAX_DRAWN
    assert drawn.scores[0] == 1 and (np.diff(drawn.scores) <= 0).all()
    assert drawn.box[0] == 0
    assert np.isfinite(drawn.xywh).all()
    assert compute_run_results(make_truth(annotations), detect(*rows)).drawn is None


def test_the_last_of_equal_overlaps_is_taken_and_each_box_once() -> None:
    assert match_greedily(np.array([[0.6, 0.6], [0.9, 0.7], [0.9, 0.8]])).tolist() == [1, 0, -1]
    assert match_greedily(np.zeros((2, 0))).tolist() == [-1, -1]


def test_iou_of_boxes_without_area_is_zero() -> None:
    point = np.array([[5.0, 5.0, 0.0, 0.0]])
    assert compute_overlaps(point, point).tolist() == [[0.0]]
    assert compute_overlaps(np.array([BOX]), np.array([[10.0, 10.0, 20.0, 10.0], BOX])).tolist() == [[0.5, 1.0]]


def test_precision_is_interpolated_from_the_right() -> None:
    precision = interpolate_precision(np.array([True, False, True]), 4)
    recall = RECALL_THRESHOLDS
    assert precision[recall <= 0.25].tolist() == [1.0] * 26
    np.testing.assert_allclose(precision[(recall > 0.25) & (recall <= 0.5)], 2 / 3)
    assert (precision[recall > 0.5] == 0).all()
    assert (interpolate_precision(np.zeros(0, dtype=bool), 3) == 0).all()


def test_f1_counts_the_detections_at_or_above_each_score() -> None:
    f1 = compute_f1_curve(np.array([0.9, 0.5, 0.2]), np.array([True, False, True]), 2)
    assert f1[SCORES == 0.5].tolist() == [pytest.approx(2 * 1 / (2 + 2))]
    assert f1[0] == pytest.approx(4 / 5)
    assert f1[-1] == 0
    assert compute_f1_curve(np.zeros(0), np.zeros(0, dtype=bool), 0).tolist() == [0.0] * 101
