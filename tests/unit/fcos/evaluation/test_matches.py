"""Detections choose boxes as in COCO: the best first, one box each, crowds and other areas ignored."""

import numpy as np

from fcos.annotations.annotations import Annotations
from fcos.annotations.coco_results import CocoResults
from fcos.evaluation.coco_settings import IOU_THRESHOLDS
from fcos.evaluation.matches import Matches, match_detections
from tests.helpers.detections.weighted_evaluations import make_annotations

BOX = [10.0, 10.0, 20.0, 20.0]


def truth(*boxes: list[float], crowd: tuple[bool, ...] | None = None) -> Annotations:
    """Return boxes of the first class in one image."""
    count = len(boxes)
    xywh = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return make_annotations(
        np.array([count]), xywh, np.zeros(count, dtype=np.int64), np.array(crowd or [False] * count, dtype=bool)
    )


def detected(*rows: tuple[float, list[float]]) -> CocoResults:
    """Return detections of the first class in the first image: score and box."""
    zeros = np.zeros(len(rows), dtype=np.int64)
    xywh = np.array([box for _, box in rows], dtype=np.float64).reshape(-1, 4)
    return CocoResults(zeros, zeros, xywh, np.array([score for score, _ in rows], dtype=np.float64))


def match(annotations: Annotations, *rows: tuple[float, list[float]]) -> Matches:
    return match_detections(annotations, detected(*rows))


def test_the_better_detection_takes_the_box_and_a_duplicate_is_wrong() -> None:
    matches = match(truth(BOX), (0.5, BOX), (0.9, BOX))
    assert matches.scores.tolist() == [0.9, 0.5]
    assert matches.row.tolist() == [1, 0]
    assert matches.box.T.tolist() == [[0] * 10, [-1] * 10]
    assert matches.true_positive.T.tolist() == [[True] * 10, [False] * 10]
    assert not matches.ignored.any()


def test_of_equal_scores_the_earlier_row_chooses_first() -> None:
    near = [10.0, 10.0, 20.0, 16.0]
    matches = match(truth(BOX), (0.5, near), (0.5, BOX))
    assert matches.true_positive[0].tolist() == [True, False]
    assert matches.true_positive[-1].tolist() == [False, True]


def test_an_iou_equal_to_the_threshold_is_enough() -> None:
    matches = match(truth(BOX), (0.5, [10.0, 10.0, 20.0, 15.0]))
    assert matches.true_positive[:, 0].tolist() == (IOU_THRESHOLDS <= 0.75).tolist()


def test_a_detection_in_a_crowd_is_ignored_many_times_and_the_crowd_is_no_box_to_find() -> None:
    matches = match(truth(BOX, crowd=(True,)), (0.5, BOX), (0.4, [12.0, 12.0, 4.0, 4.0]), (0.3, [90.0, 90.0, 4.0, 4.0]))
    assert matches.ignored[0].tolist() == [True, True, False]
    assert not matches.true_positive.any()
    assert matches.positives.tolist() == [[0], [0], [0], [0]]


def test_a_box_is_chosen_before_a_crowd_that_fits_better() -> None:
    matches = match(truth([10.0, 10.0, 20.0, 30.0], BOX, crowd=(False, True)), (0.9, BOX))
    assert matches.true_positive[0, 0]
    assert matches.ignored[-1, 0]


def test_the_box_that_is_taken_is_a_row_of_the_annotations_be_it_a_crowd() -> None:
    far = [100.0, 100.0, 20.0, 20.0]
    matches = match(truth(BOX, far, crowd=(True, False)), (0.9, far), (0.8, BOX), (0.7, [300.0, 300.0, 9.0, 9.0]))
    assert matches.box[0].tolist() == [1, 0, -1]
    assert matches.ignored[0].tolist() == [False, True, False]


def test_outside_of_the_area_range_boxes_and_unmatched_detections_are_ignored() -> None:
    results = detected((0.9, BOX), (0.8, [100.0, 100.0, 50.0, 50.0]), (0.7, [100.0, 10.0, 5.0, 5.0]))
    matches = match_detections(truth(BOX), results, (0.0, 100.0))
    assert matches.ignored[0].tolist() == [True, True, False]
    assert matches.positives.sum() == 0


def test_of_an_image_and_a_class_the_hundred_best_count() -> None:
    matches = match(truth(BOX), *[(number / 200, BOX) for number in range(150)])
    assert matches.scores.tolist() == [number / 200 for number in range(149, 49, -1)]
    assert matches.rank.tolist() == list(range(100))


def test_without_detections_and_without_boxes_everything_is_empty() -> None:
    matches = match_detections(truth(), CocoResults.empty())
    assert matches.true_positive.shape == (10, 0)
    assert matches.positives.tolist() == [[0]] * 4
    assert (matches.num_classes, matches.num_images) == (4, 1)
