"""Images that arms mend and spoil, groups of boxes, and cells of tables."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from analysis.explorer.changes import ImageChanges, compare_images, measure_seed_noise
from analysis.explorer.confusions import MAX_CLASSES, OTHERS, group_classes
from analysis.explorer.group_tables import group_by_crowding, group_by_size, make_cell
from analysis.explorer.read import to_detection_set, to_truth
from analysis.explorer.run_results import RunResults, compute_run_results
from analysis.explorer.structures import RunKey, Truth
from fcos.evaluation.coco import results_of
from tests.helpers.evaluations import random_evaluation


def make_truth(boxes: list[tuple[float, float, float, float]], crowd: list[bool] | None = None) -> Truth:
    """Return boxes, xyxy, of one image and one class."""
    array = np.array(boxes, dtype=float).reshape(-1, 4)
    return Truth(
        image_ids=np.array([1]),
        names=("a.jpg",),
        sizes=np.array([[500, 500]]),
        classes=("disc",),
        offsets=np.array([0, len(array)]),
        boxes=array,
        labels=np.zeros(len(array), dtype=np.int64),
        areas=(array[:, 2:] - array[:, :2]).prod(axis=1),
        crowd=np.array(crowd or [False] * len(array), dtype=bool),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunResults:
    annotations, detections = random_evaluation(Path(tmp_path_factory.mktemp("evaluation")), 0)
    own = to_detection_set(results_of(annotations, detections), len(annotations))
    return compute_run_results(to_truth(annotations), own)


def with_f1(run: RunResults, *values: float) -> RunResults:
    return replace(run, image_f1=np.array(values))


def test_an_image_is_mended_in_more_than_half_of_the_seeds_only() -> None:
    changes = ImageChanges((0, 1, 2, 3), np.array([[1, 1, 0, -1], [1, 1, 0, -1], [1, 0, 0, -1], [0, 0, 0, 0.5]]))
    assert changes.mended.tolist() == [True, False, False, False]
    assert changes.spoiled.tolist() == [False, False, False, True]
    assert changes.num_better.tolist() == [3, 2, 0, 1]
    assert changes.mean.tolist() == [0.75, 0.5, 0.0, -0.625]


def test_images_are_compared_over_the_seeds_that_both_arms_have(run: RunResults) -> None:
    results: dict[RunKey, RunResults] = {
        ("base", 0): with_f1(run, 0.5, 0.5),
        ("base", 1): with_f1(run, 0.5, 0.4),
        ("arm", 1): with_f1(run, 0.75, 0.4),
        ("arm", 2): with_f1(run, 0.0, 0.0),
    }
    changes = compare_images(results, "arm", "base")
    assert changes is not None
    assert changes.seeds == (1,)
    np.testing.assert_allclose(changes.differences, [[0.25, 0.0]])
    assert compare_images({("arm", 0): run}, "arm", "base") is None


def test_seed_noise_is_the_share_of_images_that_differ_between_seeds_of_the_baseline(run: RunResults) -> None:
    results: dict[RunKey, RunResults] = {
        ("base", 0): with_f1(run, 0.5, 0.5),
        ("base", 1): with_f1(run, 0.5, 0.4),
        ("base", 2): with_f1(run, 0.5, 0.5),
        ("arm", 0): with_f1(run, 0.0, 0.0),
    }
    assert measure_seed_noise(results, "base") == pytest.approx((0.5 + 0 + 0.5) / 3)
    assert measure_seed_noise({("base", 0): run}, "base") is None


def sums(groups: dict[str, NDArray[np.bool_]]) -> list[int]:
    return [int(mask.sum()) for mask in groups.values()]


def test_sizes_are_cocos_and_crowds_belong_to_none() -> None:
    truth = make_truth(
        [(0, 0, 31, 32), (0, 0, 32, 32), (0, 0, 96, 95), (0, 0, 96, 96), (0, 0, 5, 5)], [False] * 4 + [True]
    )
    assert sums(group_by_size(truth)) == [1, 2, 1]


def test_crowding_is_the_largest_overlap_with_another_box_that_is_no_crowd() -> None:
    boxes = [(0.0, 0.0, 10.0, 10.0), (0.0, 0.0, 10.0, 5.0), (9.0, 9.0, 19.0, 19.0), (100.0, 100.0, 110.0, 110.0)]
    assert sums(group_by_crowding(make_truth(boxes))) == [1, 1, 2]
    assert sums(group_by_crowding(make_truth(boxes, [False, True, False, False]))) == [1, 2, 0]
    assert sums(group_by_crowding(make_truth([]))) == [0, 0, 0]


def test_a_cell_pairs_the_seeds_that_both_arms_have() -> None:
    numbers = {("base", 0): 0.5, ("base", 1): 0.25, ("arm", 0): 0.75, ("arm", 2): 1.0}
    cell = make_cell("arm", [0, 1, 2], lambda key: numbers.get(key, math.nan), "base")
    assert cell.values == [0.75, None, 1.0]
    assert (cell.mean, cell.difference, cell.low, cell.high) == (0.875, 0.25, 0.25, 0.25)
    assert make_cell("base", [0, 1], lambda key: numbers[key], "base").difference is None
    assert make_cell("arm", [3], lambda _: math.nan, "base").mean is None


def test_rare_classes_share_a_row_of_the_confusion_matrix() -> None:
    truth = make_truth([(0, 0, 1, 1)] * 60)
    many = replace(truth, classes=tuple(f"c{label}" for label in range(30)), labels=np.arange(60) % 30)
    common = replace(many, labels=np.concatenate([np.arange(30), np.full(30, 29)]))
    labels, groups = group_classes(common)
    assert len(labels) == MAX_CLASSES
    assert labels[-2:] == ["c29", OTHERS]
    assert groups[29] == MAX_CLASSES - 2
    assert groups[28] == MAX_CLASSES - 1
    assert group_classes(truth)[0] == ["disc"]
