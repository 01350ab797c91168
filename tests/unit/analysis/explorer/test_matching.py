"""Matches, average precision and kinds of errors are those of the evaluation that trainings log."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.explorer.curves import RECALLS, SCORES, compute_curves, compute_f1_curve, interpolate_precision
from analysis.explorer.matching import compute_iou, match_detections
from analysis.explorer.read import to_detection_set, to_truth
from analysis.explorer.run_results import compute_run_results
from fcos.evaluation.coco import accumulate, coco_metrics, results_of
from fcos.evaluation.error_kinds import CORRECT, IN_CROWD, match_greedily
from fcos.evaluation.overlaps import compute_overlaps
from fcos.evaluation.tide import classify_errors
from tests.helpers.evaluations import random_evaluation


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_average_precision_by_class_equals_cocos_at_iou_50(seed: int) -> None:
    with TemporaryDirectory() as name:
        annotations, detections = random_evaluation(Path(name), seed)
    truth = to_truth(annotations)
    own = to_detection_set(results_of(annotations, detections), len(annotations))
    curves = compute_curves(truth, own, match_detections(truth, own))
    expected = accumulate(annotations, detections, limits=(100,), thresholds=(0.5,)).precision[0, :, :, 0, 0].T
    for precision, cocos in zip(curves.precision, expected, strict=True):
        if cocos[0] < 0:
            assert np.isnan(precision).all()
        else:
            np.testing.assert_allclose(precision, cocos, rtol=0, atol=1e-12)
    metrics = coco_metrics(annotations, detections)
    if "val/AP50" in metrics:
        assert np.nanmean(curves.class_ap) == pytest.approx(metrics["val/AP50"], abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32))
def test_kinds_of_errors_are_those_of_the_error_analysis(seed: int) -> None:
    with TemporaryDirectory() as name:
        annotations, detections = random_evaluation(Path(name), seed)
    truth = to_truth(annotations)
    own = to_detection_set(results_of(annotations, detections), len(annotations))
    kinds = match_detections(truth, own).kind
    expected = [classify_errors(image)[0].tolist() for image in compute_overlaps(annotations, detections)]
    assert kinds.tolist() == [kind for of_image in expected for kind in of_image]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32))
def test_counts_of_a_run_agree_with_each_other(seed: int) -> None:
    with TemporaryDirectory() as name:
        annotations, detections = random_evaluation(Path(name), seed)
    truth = to_truth(annotations)
    own = to_detection_set(results_of(annotations, detections), len(annotations))
    run = compute_run_results(truth, own)
    counted = run.kept & (run.matches.kind != IN_CROWD)
    assert run.errors["correct"] == run.found.sum() == (run.matches.kind[run.kept] == CORRECT).sum()
    assert run.errors["correct"] + run.errors["missed"] == (~truth.crowd).sum()
    assert sum(run.errors.values()) - run.errors["missed"] == counted.sum() == run.class_detected.sum()
    assert run.confusion[:-1].sum() == (~truth.crowd).sum()
    assert run.confusion[:, :-1].sum() == counted.sum()
    total = counted.sum() + (~truth.crowd).sum()
    if total:
        assert run.curves.f1.max() == pytest.approx(2 * run.found.sum() / total)
    assert ((run.image_f1 >= 0) & (run.image_f1 <= 1)).all()


def test_the_last_of_equal_overlaps_is_taken_and_each_box_once() -> None:
    assert match_greedily(np.array([[0.6, 0.6], [0.9, 0.7], [0.9, 0.8]])).tolist() == [1, 0, -1]
    assert match_greedily(np.zeros((2, 0))).tolist() == [-1, -1]


def test_iou_of_boxes_without_area_is_zero() -> None:
    point = np.array([[5.0, 5.0, 5.0, 5.0]])
    assert compute_iou(point, point).tolist() == [[0.0]]


def test_precision_is_interpolated_from_the_right() -> None:
    precision = interpolate_precision(np.array([True, False, True]), 4)
    assert precision[RECALLS <= 0.25].tolist() == [1.0] * 26
    np.testing.assert_allclose(precision[(RECALLS > 0.25) & (RECALLS <= 0.5)], 2 / 3)
    assert (precision[RECALLS > 0.5] == 0).all()
    assert (interpolate_precision(np.zeros(0, dtype=bool), 3) == 0).all()


def test_f1_counts_the_detections_at_or_above_each_score() -> None:
    f1 = compute_f1_curve(np.array([0.9, 0.5, 0.2]), np.array([True, False, True]), 2)
    assert f1[SCORES == 0.5].tolist() == [pytest.approx(2 * 1 / (2 + 2))]
    assert f1[0] == pytest.approx(4 / 5)
    assert f1[-1] == 0
    assert compute_f1_curve(np.zeros(0), np.zeros(0, dtype=bool), 0).tolist() == [0.0] * 101
