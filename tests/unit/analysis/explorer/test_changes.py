"""Images that arms mend and spoil, groups of boxes, and cells of tables."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from analysis.explorer.changes import ImageChanges, compare_images, measure_seed_noise
from analysis.explorer.confusions import MAX_CLASSES, OTHERS, group_classes, merge_classes
from analysis.explorer.group_tables import (
    MAX_CLASS_BYTES,
    choose_classes,
    group_by_crowding,
    group_by_size,
    make_cell,
    make_metric_tables,
)
from analysis.explorer.page_data import GroupTable, Row, to_script_json
from analysis.explorer.run_results import RunResults, compute_run_results
from analysis.explorer.structures import RunKey, Truth, make_truth
from fcos.evaluation.coco import results_of
from tests.helpers.detections.evaluations import random_evaluation
from tests.helpers.detections.weighted_evaluations import make_annotations


def make_boxes(boxes: list[tuple[float, float, float, float]], crowd: list[bool] | None = None) -> Truth:
    """Return boxes, xywh, of one image and one class."""
    xywh = np.array(boxes, dtype=float).reshape(-1, 4)
    is_crowd = np.array(crowd or [False] * len(xywh), dtype=bool)
    return make_truth(make_annotations(np.array([len(xywh)]), xywh, np.zeros(len(xywh), dtype=np.int64), is_crowd))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunResults:
    annotations, detections = random_evaluation(Path(tmp_path_factory.mktemp("evaluation")), 0)
    return compute_run_results(make_truth(annotations), results_of(annotations, detections))


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
    truth = make_boxes(
        [(0, 0, 31, 32), (0, 0, 32, 32), (0, 0, 96, 95), (0, 0, 96, 96), (0, 0, 5, 5)], [False] * 4 + [True]
    )
    assert sums(group_by_size(truth)) == [1, 2, 1]


def test_crowding_is_the_largest_overlap_with_another_box_that_is_no_crowd() -> None:
    boxes = [(0.0, 0.0, 10.0, 10.0), (0.0, 0.0, 10.0, 5.0), (9.0, 9.0, 10.0, 10.0), (100.0, 100.0, 10.0, 10.0)]
    assert sums(group_by_crowding(make_boxes(boxes))) == [1, 1, 2]
    assert sums(group_by_crowding(make_boxes(boxes, [False, True, False, False]))) == [1, 2, 0]
    assert sums(group_by_crowding(make_boxes([]))) == [0, 0, 0]


def test_a_cell_pairs_the_seeds_that_both_arms_have() -> None:
    numbers = {("base", 0): 0.5, ("base", 1): 0.25, ("arm", 0): 0.75, ("arm", 2): 1.0}
    cell = make_cell("arm", [0, 1, 2], lambda key: numbers.get(key, math.nan), "base")
    assert cell.values == [0.75, None, 1.0]
    assert (cell.mean, cell.difference, cell.low, cell.high) == (0.875, 0.25, 0.25, 0.25)
    assert make_cell("base", [0, 1], lambda key: numbers[key], "base").difference is None
    assert make_cell("arm", [3], lambda _: math.nan, "base").mean is None


def test_the_difference_of_a_cell_is_the_median_that_its_interval_is_about() -> None:
    """The mean of these is outside of the interval, which leaves out the largest of nine."""
    differences = [0.01, 0.011, 0.012, 0.013, 0.014, 0.015, 0.016, 0.017, 0.9]
    cell = make_cell("arm", range(9), lambda key: differences[key[1]] if key[0] == "arm" else 0.0, "base")
    assert (cell.difference, cell.high) == (0.014, 0.017)
    assert cell.low is not None and cell.low <= 0.014 and cell.mean is not None and cell.mean > 0.1


def test_the_metric_that_a_report_tests_is_marked() -> None:
    values = pd.DataFrame([{"metric": name, "arm": "a", "seed": 0, "value": 0.5} for name in ("val/AP", "val/AP50")])
    tables = make_metric_tables(values, ["a"], [0], "a", "val/AP")
    assert {table.note: table.is_tested for table in tables} == {"val/AP": True, "val/AP50": False}


def make_classes(labels: NDArray[np.int64], num_classes: int) -> Truth:
    """Return a box of each label, of so many classes."""
    truth = make_boxes([(0, 0, 1, 1)] * len(labels))
    names = tuple(f"c{label}" for label in range(num_classes))
    return replace(truth, annotations=replace(truth.annotations, classes=names, labels=labels))


def test_rare_classes_share_a_row_of_the_confusion_matrix() -> None:
    rows = group_classes(make_classes(np.concatenate([np.arange(30), np.full(30, 29)]), 30))
    assert len(rows.labels) == MAX_CLASSES
    assert rows.labels[-2:] == ["c29", OTHERS]
    assert rows.of_class[29] == MAX_CLASSES - 2
    assert rows.of_class[28] == MAX_CLASSES - 1
    assert rows.merged.sum() == 30 - (MAX_CLASSES - 1)
    few = group_classes(make_classes(np.zeros(60, dtype=np.int64), 4))
    assert few.labels == ["c0", "c1", "c2", "c3"] and not few.merged.any()


def test_merged_classes_that_are_taken_for_each_other_are_not_on_the_diagonal() -> None:
    rows = group_classes(make_classes(np.arange(22), 22))
    confusion = np.zeros((23, 23), dtype=np.int64)
    # Classes 19 to 21 share a row: 19 is right five times, 20 is taken for 21, for class 0 and missed.
    confusion[19, 19], confusion[20, 21], confusion[20, 0], confusion[20, 22] = 5, 3, 2, 1
    counts, mixed = merge_classes(confusion, rows)
    other = MAX_CLASSES - 1
    assert (counts[other, other], mixed) == (5, 3)
    assert (counts[other, 0], counts[other, -1]) == (2, 1)
    assert counts.sum() + mixed == confusion.sum()
    few = group_classes(make_classes(np.zeros(2, dtype=np.int64), 2))
    assert merge_classes(np.full((3, 3), 7), few)[1] == 0


def test_of_more_classes_than_fit_the_most_frequent_have_a_row() -> None:
    counts = np.arange(1203)[::-1].copy()
    counts[1000] = 5000
    shown = choose_classes(counts, 10, 12)
    assert 100 < len(shown) < 1203
    assert shown == sorted(shown) and 1000 in shown and shown[0] == 0
    assert choose_classes(np.ones(80, dtype=np.int64), 10, 12) == list(range(80))


@pytest.mark.parametrize(("arms", "seeds"), [(2, 1), (10, 12), (40, 3)])
def test_the_rows_that_are_chosen_take_about_the_room_that_they_have(arms: int, seeds: int) -> None:
    cells = [make_cell("arm", list(range(seeds)), lambda key: (key[0] == "arm") / 3 + key[1] / 7, "base")] * arms
    row = Row(label="a class", class_index=1000, count=12345, better="max", cells=cells)
    rows = [row] * len(choose_classes(np.ones(100_000, dtype=np.int64), arms, seeds))
    table = GroupTable(caption="x", note="y", group="class", is_percent=True, rows=rows)
    assert MAX_CLASS_BYTES / 2 < 3 * len(to_script_json(table)) < 1.5 * MAX_CLASS_BYTES


def test_tables_of_metrics_have_the_better_end() -> None:
    metrics = {"val/AP": "max", "val/errors/missed": "min", "train/loss": "min", "val/score_iou/iou_of_0.3": None}
    values = pd.DataFrame([{"metric": metric, "arm": "a", "seed": 0, "value": 0.5} for metric in metrics])
    tables = make_metric_tables(values, ["a"], [0], None)
    assert {table.note: table.rows[0].better for table in tables} == metrics
