"""Verdicts on paired differences and departures from the papers' recipe."""

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from analysis.papers.recipe import RECIPE, list_departures
from analysis.papers.rows import get_row
from analysis.reader.sweep import Provenance, Trial
from analysis.stats.paired import Comparison
from analysis.stats.verdicts import classify, compare_with_paper, describe_outcome, make_verdict

AP = "val/AP"


def make_comparison(
    low: float, high: float, pairs: int = 3, difference: float | None = None, metric: str = AP
) -> Comparison:
    mean = (low + high) / 2 if difference is None else difference
    return Comparison(
        metric,
        "branch",
        difference=mean,
        low=low,
        high=high,
        num_pairs=pairs,
        num_higher=pairs if mean > 0 else 0,
        pairs_needed=5.0,
    )


def make_coco_trial(**changed: Any) -> Trial:
    """Return a finished trial in the setting of v1 Table 4, except for what is changed (`__` for a dot in a key)."""
    params = {
        **RECIPE,
        "model.backbone.weights": "IMAGENET1K_V1",
        "model.assignment.center_sampling_radius": None,
        "model.loss.regression": "iou",
        "data.train.annotations": "annotations/instances_train2017.json",
        "data.val.annotations": "annotations/instances_val2017.json",
        **{key.replace("__", "."): value for key, value in changed.items()},
    }
    metrics = {f"val/class_AP/{index}": 0.3 for index in range(80)}
    started = datetime(2026, 1, 1, tzinfo=UTC)
    return Trial("branch", 0, "run", "FINISHED", started, params, metrics, Provenance(data="coco"))


@pytest.mark.parametrize(
    ("low", "high", "pairs", "expected"),
    [
        (0.012, 0.050, 3, "higher"),
        (-0.050, -0.012, 3, "lower"),
        (-0.004, 0.009, 3, "equal"),
        (-0.020, 0.030, 3, "too few"),
        (-0.020, 0.030, 6, "not shown"),
        (math.nan, math.nan, 1, "too few"),
        (0.0001, 0.0004, 3, "equal"),
        (-0.0004, -0.0001, 3, "equal"),
        (0.0, 0.0, 3, "identical"),
        (0.02, 0.02, 2, "too few"),
    ],
)
def test_the_outcome_follows_the_interval_and_the_pairs(low: float, high: float, pairs: int, expected: str) -> None:
    assert classify(make_comparison(low, high, pairs)) == expected


def test_a_loss_is_never_called_equal_by_the_margin_of_ap() -> None:
    assert classify(make_comparison(-0.004, 0.009, metric="train/loss")) == "too few"


def test_the_text_has_size_interval_and_pairs() -> None:
    text = describe_outcome(make_comparison(0.012, 0.050), "none")
    assert text == "higher than none: +3.1 AP, 95 % interval +1.2 to +5.0 over 3 pairs"
    single = describe_outcome(make_comparison(math.nan, math.nan, 1, 0.02), "none")
    assert single == "too few seeds to tell: +2.0 AP in a single pair, which has no interval"


def test_undecided_pairs_give_their_common_direction_and_how_many_would_decide() -> None:
    same_direction = describe_outcome(make_comparison(-0.012, 0.077), "none")
    assert same_direction.endswith("; higher in every pair, and about 5 pairs with this spread would settle it")
    mixed = describe_outcome(replace(make_comparison(-0.012, 0.077), num_higher=2), "none")
    assert mixed.endswith("over 3 pairs")


@pytest.mark.parametrize(
    ("low", "high", "paper_difference", "expected"),
    [
        (0.012, 0.050, 0.036, "agrees"),
        (-0.050, -0.012, 0.036, "contradicts"),
        (-0.020, 0.060, 0.036, "cannot tell"),
        (-0.004, 0.004, 0.0, "agrees"),
        (-0.004, 0.004, -0.005, "agrees"),
        (-0.004, 0.004, 0.036, "contradicts"),
        (-0.004, 0.009, 0.009, "cannot tell"),
        (0.001, 0.030, 0.0, "cannot tell"),
        (0.010, 0.030, 0.0, "differs"),
    ],
)
def test_directions_agree_only_where_both_are_clear(
    low: float, high: float, paper_difference: float, expected: str
) -> None:
    assert compare_with_paper(make_comparison(low, high), paper_difference) == expected


def paper_verdict(comparison: Comparison, trial: Trial) -> str:
    rows = {
        "none": {"v1 Table 4": get_row("v1.table4.none")},
        "branch": {"v1 Table 4": get_row("v1.table4.branch")},
    }
    return make_verdict(comparison, "none", rows, [trial]).paper[0].text


def test_reproduced_needs_the_papers_own_setting_and_size() -> None:
    ours = make_comparison(0.030, 0.041)
    assert paper_verdict(ours, make_coco_trial()) == "v1 Table 4 (+3.6): reproduced"
    assert paper_verdict(make_comparison(0.008, 0.020), make_coco_trial()) == "v1 Table 4 (+3.6): not reproduced"
    undecided = paper_verdict(make_comparison(-0.030, 0.060), make_coco_trial())
    assert undecided == "v1 Table 4 (+3.6): cannot tell, though every pair points the same way"
    assert paper_verdict(ours, make_coco_trial(schedule__steps=1200)) == "v1 Table 4 (+3.6): agrees in direction"


def test_the_papers_setting_has_no_departures() -> None:
    assert list_departures([make_coco_trial()], get_row("v1.table4.branch")) == []


@pytest.mark.parametrize(
    ("changed", "departure"),
    [
        ({"data__augmentation__mosaic": 0.5}, "data.augmentation.mosaic 0.5 (paper: off)"),
        (
            {"data__augmentation__scale_jitter": [0.5, 2.0], "data__augmentation__min_visible": 0.1},
            "data.augmentation.scale_jitter [0.5, 2.0] (paper: off)",
        ),
        ({"schedule__steps": 1200}, "schedule.steps 1200 (paper: 90000)"),
        ({"model__backbone__name": "resnet18"}, "model.backbone.name resnet18 (paper: resnet50)"),
        ({"model__backbone__weights": None}, "the backbone does not start from ImageNet weights"),
        ({"data__limit_val": 100}, "data.limit_val 100 (paper: not set)"),
        (
            {"data__val__annotations": "val/bccd.json"},
            "the validation annotations are not COCO val2017",
        ),
        ({"model__loss__regression": "giou"}, "model.loss.regression giou (paper: iou)"),
    ],
)
def test_every_departure_is_named(changed: dict[str, Any], departure: str) -> None:
    assert list_departures([make_coco_trial(**changed)], get_row("v1.table4.branch")) == [departure]


def test_another_data_set_in_coco_format_is_not_coco() -> None:
    row = get_row("v1.table4.none")
    other = replace(make_coco_trial(), metrics={"val/class_AP/RBC": 0.6})
    assert list_departures([other], row) == ["1 classes were evaluated, not COCO's 80"]
    synthetic = replace(other, provenance=Provenance(data="synthetic"))
    assert list_departures([synthetic], row) == ["the data is synthetic, not COCO"]


def test_a_table_with_an_unknown_recipe_is_never_reproduced() -> None:
    assert list_departures([make_coco_trial()], get_row("v1.table5.fcos_r101")) == [
        "the recipe behind v1 Table 5 cannot be checked here"
    ]
