"""verdicts.py and recipe.py: what may be said, and when nothing may."""

import math
from typing import Any

import pandas as pd
import pytest

from analysis.papers.recipe import RECIPE, departures
from analysis.papers.rows import row
from analysis.stats.verdicts import agree, describe, judge, weigh

AP = "val/AP"


def statistics(low: float, high: float, pairs: int = 3, difference: float | None = None) -> dict[str, Any]:
    middle = (low + high) / 2 if difference is None else difference
    counts = {"num_pairs": pairs, "num_higher": pairs if middle > 0 else 0, "pairs_needed": 5.0}
    return {"arm": "branch", "difference": middle, "low": low, "high": high, **counts}


def coco_trials(**changed: Any) -> pd.DataFrame:
    """One finished trial in the setting of v1 Table 4, but for what is changed (`__` for a dot in a key)."""
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
    return pd.DataFrame([{"tags": {"fcos.data": "coco"}, "params": params, "metrics": metrics}])


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
def test_the_evidence_follows_the_interval_and_the_pairs(low: float, high: float, pairs: int, expected: str) -> None:
    assert weigh(statistics(low, high, pairs), AP) == expected


def test_a_loss_is_never_called_equal_by_the_margin_of_ap() -> None:
    assert weigh(statistics(-0.004, 0.009), "train/loss") == "too few"


def test_the_words_carry_size_interval_and_pairs() -> None:
    _, text = describe(statistics(0.012, 0.050), AP, "none")
    assert text == "higher than none: +3.1 AP, 95 % interval +1.2 to +5.0 over 3 pairs"
    _, single = describe(statistics(math.nan, math.nan, 1, 0.02), AP, "none")
    assert single == "too few seeds to tell: +2.0 AP in a single pair, which has no interval"


def test_undecided_pairs_say_which_way_they_lean_and_how_many_would_do() -> None:
    _, leaning = describe(statistics(-0.012, 0.077), AP, "none")
    assert leaning.endswith("; higher in every pair, and about 5 pairs with this spread would settle it")
    _, mixed = describe({**statistics(-0.012, 0.077), "num_higher": 2}, AP, "none")
    assert mixed.endswith("over 3 pairs")


@pytest.mark.parametrize(
    ("low", "high", "printed", "expected"),
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
def test_directions_agree_only_where_both_are_clear(low: float, high: float, printed: float, expected: str) -> None:
    comparison = statistics(low, high)
    assert agree(comparison, weigh(comparison, AP), printed) == expected


def verdict_on(comparison: dict[str, Any], trials: pd.DataFrame) -> str:
    rows = {
        "none": {"v1 Table 4": row("v1.table4.none")},
        "branch": {"v1 Table 4": row("v1.table4.branch")},
    }
    return judge(comparison, AP, "none", rows, trials).paper[0].text


def test_reproduced_needs_the_papers_own_setting_and_size() -> None:
    ours = statistics(0.030, 0.041)
    assert verdict_on(ours, coco_trials()) == "v1 Table 4 (+3.6): reproduced"
    assert verdict_on(statistics(0.008, 0.020), coco_trials()) == "v1 Table 4 (+3.6): not reproduced"
    undecided = verdict_on(statistics(-0.030, 0.060), coco_trials())
    assert undecided == "v1 Table 4 (+3.6): cannot tell, though every pair leans the same way"
    assert verdict_on(ours, coco_trials(schedule__steps=1200)) == "v1 Table 4 (+3.6): agrees in direction"


def test_the_papers_setting_has_no_departures() -> None:
    assert departures(coco_trials(), row("v1.table4.branch")) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
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
def test_every_departure_is_named(changed: dict[str, Any], words: str) -> None:
    assert departures(coco_trials(**changed), row("v1.table4.branch")) == [words]


def test_another_data_set_in_coco_format_is_not_coco() -> None:
    trials = coco_trials()
    trials.at[0, "metrics"] = {"val/class_AP/RBC": 0.6}
    assert departures(trials, row("v1.table4.none")) == ["1 classes were evaluated, not COCO's 80"]
    trials.at[0, "tags"] = {"fcos.data": "synthetic"}
    assert departures(trials, row("v1.table4.none")) == ["the data is synthetic, not COCO"]


def test_a_table_with_an_unknown_recipe_is_never_reproduced() -> None:
    assert departures(coco_trials(), row("v1.table5.fcos_r101")) == [
        "the recipe behind v1 Table 5 cannot be checked here"
    ]
