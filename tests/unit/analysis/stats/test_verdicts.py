"""Verdicts on paired differences and departures from the papers' recipe."""

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from analysis.papers.recipe import RECIPE, list_departures
from analysis.papers.rows import get_row
from analysis.reader.sweep import Provenance, Trial
from analysis.stats.comparison import Comparison
from analysis.stats.verdicts import classify, compare_with_paper, describe_outcome, make_verdict
from fcos.statistics.holm import ArmTest

AP = "val/AP"


def make_comparison(
    low: float, high: float, pairs: int = 8, difference: float | None = None, metric: str = AP, level: float = 0.05
) -> Comparison:
    """Return the comparison that a test with this interval gives; without an interval (NaN) nothing is bounded."""
    mean = (low + high) / 2 if difference is None else difference
    low, high = (-math.inf, math.inf) if math.isnan(low) else (low, high)
    p = 0.01 if low > 0 or high < 0 else 0.5
    return Comparison(
        metric,
        "branch",
        ArmTest(pairs, low, high, level, p, p, low == high == 0),
        margin=0.01 if metric == AP else None,
        difference=mean,
        smallest=mean - 0.002,
        largest=mean + 0.002,
        num_higher=pairs if mean > 0 else 0,
        pairs_needed=9,
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
        (0.012, 0.050, 8, "higher"),
        (-0.050, -0.012, 8, "lower"),
        (-0.004, 0.009, 8, "equal"),
        (-0.020, 0.030, 8, "not shown"),
        (math.nan, math.nan, 5, "too few"),
        (math.nan, math.nan, 1, "too few"),
        (0.0001, 0.0004, 8, "equal"),
        (0.0, 0.0, 8, "identical"),
        (0.02, 0.02, 8, "higher"),
    ],
)
def test_the_outcome_follows_the_interval(low: float, high: float, pairs: int, expected: str) -> None:
    assert classify(make_comparison(low, high, pairs)) == expected


def test_a_loss_is_never_called_equal_by_the_margin_of_ap() -> None:
    assert classify(make_comparison(-0.004, 0.009, metric="train/loss")) == "not shown"
    assert classify(make_comparison(0.0001, 0.0004, metric="train/loss")) == "higher"


def test_the_text_has_size_interval_with_its_level_and_pairs() -> None:
    text = describe_outcome(make_comparison(0.012, 0.050), "none")
    assert text == "higher than none: +3.1 AP, 95 % interval +1.2 to +5.0 over 8 pairs"
    third = describe_outcome(make_comparison(-0.006, 0.004, level=0.05 / 3), "none")
    assert third == "no difference above 1.0 AP to none: −0.1 AP, 98.3 % interval −0.6 to +0.4 over 8 pairs"


def test_pairs_that_are_too_few_give_their_range_and_how_many_could_decide() -> None:
    three = make_comparison(math.nan, math.nan, 3, 0.031)
    assert describe_outcome(replace(three, pairs_needed=6), "none") == (
        "too few seeds to tell: +3.1 AP, +2.9 to +3.3 in 3 pairs, higher in each; "
        "3 pairs cannot decide, at least 6 are needed"
    )
    assert describe_outcome(three, "none").endswith(
        "at least 6 are needed, about 9 for a power of 80 % at this size and spread"
    )
    second_arm = make_comparison(math.nan, math.nan, 6, -0.031, level=0.025)
    assert describe_outcome(replace(second_arm, num_higher=1), "none") == (
        "too few seeds to tell: −3.1 AP, −3.3 to −2.9 in 6 pairs; "
        "6 pairs cannot decide, at least 7 are needed, about 9 for a power of 80 % at this size and spread"
    )
    single = describe_outcome(replace(make_comparison(math.nan, math.nan, 1, 0.02), pairs_needed=None), "none")
    assert single == "too few seeds to tell: +2.0 AP in a single pair; 1 pair cannot decide, at least 6 are needed"


def test_equal_pairs_that_are_too_few_are_shown_as_what_they_are() -> None:
    three = replace(make_comparison(math.nan, math.nan, 3, 0.0), smallest=0.0, largest=0.0, pairs_needed=None)
    text = describe_outcome(replace(three, test=replace(three.test, is_identical=True)), "none")
    assert text.endswith("AP, exactly zero in all 3 pairs; 3 pairs cannot decide, at least 6 are needed")
    assert describe_outcome(make_comparison(0.0, 0.0), "none") == (
        "identical to none in all 8 pairs: its settings have no effect on AP here"
    )


def test_what_is_not_shown_comes_with_the_pairs_that_four_in_five_sweeps_need() -> None:
    undecided = make_comparison(-0.012, 0.050)
    assert describe_outcome(undecided, "none").endswith(
        "; about 9 pairs would be needed for a power of 80 % at this size and spread"
    )
    endless = describe_outcome(replace(undecided, pairs_needed=None), "none")
    assert endless.endswith("; more than 1000 pairs would be needed for a power of 80 % at this size and spread")


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
        (0.0, 0.0, 0.036, "contradicts"),
        (math.nan, math.nan, 0.036, "cannot tell"),
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
