"""Metrics from matches under weights of the images equal the evaluator's, also of images that occur several times."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.stats.weighted_metrics import compute_weighted_metrics, select_weighted_metrics
from fcos.annotations.annotations import Annotations
from fcos.annotations.coco_results import CocoResults
from fcos.evaluation.class_keys import class_keys
from fcos.evaluation.coco import result_metrics
from fcos.evaluation.metric_names import COCO_METRICS
from tests.helpers.detections.weighted_evaluations import repeat_images, tied_evaluation, without_ties

SEEDS = st.integers(0, 2**32 - 1)


def by_weights(annotations: Annotations, results: CocoResults, weights: np.ndarray) -> list[dict[str, float]]:
    """Return for each weighting the metrics that have a value."""
    keys = class_keys(annotations)
    metrics = [*(f"val/{name}" for name in COCO_METRICS), *keys]
    values = compute_weighted_metrics(annotations, results, weights, metrics, keys)
    assert list(values) == metrics
    return [
        {metric: of_metric[column] for metric, of_metric in values.items() if not np.isnan(of_metric[column])}
        for column in range(weights.shape[1])
    ]


@settings(deadline=None, max_examples=60)
@given(seed=SEEDS)
def test_with_every_image_once_all_metrics_are_the_evaluators(seed: int) -> None:
    annotations, results = tied_evaluation(seed)
    (metrics,) = by_weights(annotations, results, np.ones((len(annotations), 1), dtype=np.int64))
    assert metrics == pytest.approx(result_metrics(annotations, results), rel=0, abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(seed=SEEDS, counts=st.lists(st.integers(0, 3), min_size=6, max_size=6).filter(any))
def test_weights_give_the_metrics_of_images_repeated_so_often(seed: int, counts: list[int]) -> None:
    annotations, tied = tied_evaluation(seed)
    results = without_ties(tied, seed)
    (metrics,) = by_weights(annotations, results, np.array(counts)[:, None])
    expected = result_metrics(*repeat_images(annotations, results, np.array(counts)))
    assert metrics == pytest.approx(expected, rel=0, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_many_images_with_more_detections_than_count_are_evaluated_alike(seed: int) -> None:
    annotations, results = tied_evaluation(seed, num_images=40)
    crowded = np.arange(len(results)).repeat(25)
    results = CocoResults(*(column[crowded] for column in vars(results).values()))
    assert np.unique(results.image * 10 + results.label, return_counts=True)[1].max() > 100
    (metrics,) = by_weights(annotations, results, np.ones((40, 1), dtype=np.int64))
    assert metrics == pytest.approx(result_metrics(annotations, results), rel=0, abs=1e-12)


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS)
def test_each_weighting_is_evaluated_as_if_it_were_alone(seed: int) -> None:
    annotations, results = tied_evaluation(seed)
    weights = np.random.default_rng(seed).integers(0, 4, (len(annotations), 40))
    together = by_weights(annotations, results, weights)
    for column in (0, 17, 39):
        (alone,) = by_weights(annotations, results, weights[:, [column]])
        assert together[column] == pytest.approx(alone, rel=0, abs=1e-12)


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS)
def test_an_image_of_weight_zero_counts_for_nothing(seed: int) -> None:
    annotations, results = tied_evaluation(seed)
    weights = np.ones((len(annotations), 1), dtype=np.int64)
    weights[2] = 0
    others = np.arange(len(annotations)) != 2
    kept = results.image != 2
    renumbered = results.image - (results.image > 2)
    without = CocoResults(renumbered[kept], results.label[kept], results.xywh[kept], results.scores[kept])
    expected = result_metrics(annotations.select(np.flatnonzero(others)), without)
    assert by_weights(annotations, results, weights)[0] == pytest.approx(expected, rel=0, abs=1e-12)


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, factor=st.integers(2, 50))
def test_all_images_equally_often_give_the_precision_and_recall_of_once(seed: int, factor: int) -> None:
    annotations, results = tied_evaluation(seed)
    weights = np.full((len(annotations), 2), [1, factor])
    once, often = by_weights(annotations, without_ties(results, seed), weights)
    recall = {key: value for key, value in once.items() if key.startswith("val/AR")}
    assert recall == pytest.approx({key: often[key] for key in recall}, rel=0, abs=1e-12)
    # The thresholds of recall are reached alike, but for rounding of the quotients at a tie, which are the same floats.
    assert once == pytest.approx(often, rel=0, abs=1e-12)


def test_without_detections_everything_that_has_boxes_is_zero() -> None:
    annotations, _ = tied_evaluation(1)
    (metrics,) = by_weights(annotations, CocoResults.empty(), np.ones((len(annotations), 1), dtype=np.int64))
    assert metrics == result_metrics(annotations, CocoResults.empty())
    assert set(metrics.values()) == {0.0}


def test_without_boxes_nothing_has_a_value() -> None:
    annotations, results = tied_evaluation(1)
    empty = repeat_images(annotations, results, np.zeros(len(annotations), dtype=np.int64))
    assert by_weights(annotations, results, np.zeros((len(annotations), 1), dtype=np.int64)) == [{}]
    assert result_metrics(*empty) == {}


def test_a_single_image_is_evaluated() -> None:
    annotations, results = tied_evaluation(3, num_images=1)
    (once, twice) = by_weights(annotations, results, np.array([[1, 2]]))
    assert once == pytest.approx(result_metrics(annotations, results), rel=0, abs=1e-12)
    assert set(once) == set(twice)


def test_metrics_that_are_no_coco_metric_of_boxes_are_left_out() -> None:
    metrics = ["train/loss", "val/AP", "val/AR10", "val/class_AP/a", "val/class_AP/z", "val/errors/AP50", "val/AR1000"]
    assert select_weighted_metrics(metrics, ["val/class_AP/a"]) == ["val/AP", "val/AR10", "val/class_AP/a"]


def test_evaluations_are_parsed_and_matched_without_torch() -> None:
    code = (
        "import sys\nimport analysis.stats.weighted_metrics, fcos.evaluation.saved.saved_evaluation\n"
        "print(sorted({'torch', 'ray', 'mlflow', 'hydra'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
