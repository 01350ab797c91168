"""Factors of an experiment: arms from cells, fractions by number, claims that are kept apart, what is refused."""

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

import pytest

from fcos.config.parse import parse
from fcos.errors import ConfigError
from orchestration.config.compose import compose
from orchestration.config.experiment import ExperimentConfig
from orchestration.config.factorial import describe_design, with_cells
from orchestration.config.overrides import check_overrides
from orchestration.experiment.trials import arm_configs

NORM = {"none": {"model.head.norm": "none"}, "gn": {"model.head.norm": "gn"}}
LOSS = {"iou": {"model.loss.regression": "iou"}, "giou": {"model": {"loss": {"regression": "giou"}}}}
SAMPLING = {
    "everywhere": {"model.assignment.center_sampling_radius": None},
    "center": {"model.assignment.center_sampling_radius": 1.5},
}
QUALITY = {
    "centerness": {"model.head.quality": "centerness"},
    "iou": {"model.head.quality": "iou"},
}
TWO = {"norm": NORM, "loss": LOSS}
TWELVE = {f"f{i}": {"one": {f"key{i}": 1}, "two": {f"key{i}": 2}} for i in range(12)}
FOUR = {**TWO, "sampling": SAMPLING, "quality": QUALITY}


def experiment(factors: Mapping[str, Any], **changes: Any) -> ExperimentConfig:
    return parse(ExperimentConfig, with_cells({"name": "test", "factors": factors, "seeds": [0], **changes}))


def test_the_arms_are_the_cells_and_the_baseline_has_the_first_levels() -> None:
    made = experiment(TWO)
    assert made.baseline == "none+iou"
    assert dict(made.arms) == {
        "none+iou": {"model.head.norm": "none", "model.loss.regression": "iou"},
        "none+giou": {"model.head.norm": "none", "model.loss.regression": "giou"},
        "gn+iou": {"model.head.norm": "gn", "model.loss.regression": "iou"},
        "gn+giou": {"model.head.norm": "gn", "model.loss.regression": "giou"},
    }


def test_what_is_stored_of_an_experiment_is_read_back_as_the_same() -> None:
    made = experiment(FOUR, fraction=1, claimed_effects=["norm"])
    assert parse(ExperimentConfig, made.model_dump(mode="json")) == made


def test_a_number_is_the_fraction_of_the_least_aberration() -> None:
    made = experiment(FOUR, fraction=1)
    assert made.fraction == ("quality=norm*loss*sampling",)
    assert len(made.arms) == 8
    assert made.design is not None and made.design.resolution == "IV"


SIX = {name: {"off": {f"x.{name}": 0}, "on": {f"x.{name}": 1}} for name in "abcdef"}


def aliased_claims() -> tuple[ExperimentConfig, list[str]]:
    """Return a quarter of six factors, and two interactions that it aliases with each other."""
    made = experiment(SIX, fraction=2)
    assert made.design is not None and made.design.resolution == "IV"
    word = sorted(next(word for word in made.design.relation if len(word) == 4))
    return made, ["*".join(word[:2]), "*".join(word[2:])]


def test_a_number_gives_a_fraction_that_keeps_the_claimed_effects_apart() -> None:
    first, claimed = aliased_claims()
    made = experiment(SIX, fraction=2, claimed_effects=claimed)
    assert made.fraction != first.fraction
    assert made.design is not None and made.design.find_aliased_claims() == ""
    assert len(made.arms) == len(first.arms) == 16


def test_claims_that_are_aliased_are_refused_with_a_fraction_that_would_do() -> None:
    first, claimed = aliased_claims()
    one, other = (re.escape(text) for text in claimed)
    rule = rf"claimed_effects: {one} is aliased with {other}, claimed too, in the fraction"
    with pytest.raises(ConfigError, match=rule) as refused:
        experiment(SIX, fraction=list(first.fraction), claimed_effects=claimed)
    (suggested,) = shlex.split(re.findall(r"'experiment\.fraction=.*'", str(refused.value))[0])
    generators = json.loads(suggested.partition("=")[2])
    assert check_overrides([suggested])
    assert len(experiment(SIX, fraction=generators, claimed_effects=claimed).arms) == 16


def test_claims_that_no_fraction_keeps_apart_need_all_cells() -> None:
    three = {name: FOUR[name] for name in ("norm", "loss", "sampling")}
    with pytest.raises(ConfigError, match=r"norm\*loss is aliased with sampling.*leave experiment\.fraction out"):
        experiment(three, fraction=1, claimed_effects=["norm*loss"])


@pytest.mark.parametrize(
    ("factors", "changes", "message"),
    [
        ({"norm": NORM}, {}, "factors: 1 given; give 2 to 8, and arms for a single one"),
        ({"norm": NORM, "loss": {"iou": LOSS["iou"]}}, {}, r"factors\.loss: has the one level iou"),
        ({"norm": NORM, "a*b": LOSS}, {}, r"factors\.a\*b: the name 'a\*b' must be 1 to 64"),
        ({"norm": NORM, "loss": {"a+b": {}, "c": LOSS["iou"]}}, {}, r"factors\.loss: the name 'a\+b' must be"),
        ({"norm": NORM, "again": NORM}, {}, r"factors: norm and again both set model\.head\.norm"),
        ({"norm": 3}, {}, r"factors\.norm=3: "),
        ({"norm": NORM, "loss": {"iou": 3}}, {}, r"factors\.loss\.iou=3: "),
        (TWO, {"fraction": 1}, "fraction=1: would not separate the main effects of 2 factors; at most fraction=0"),
        (FOUR, {"fraction": 2}, "fraction=2: would not separate the main effects of 4 factors; at most fraction=1"),
        (FOUR, {"fraction": -1}, "fraction=-1: must not be below 0"),
        (FOUR, {"fraction": "x"}, "fraction='x': "),
        (FOUR, {"fraction": ["quality=norm*los"]}, "fraction: quality=norm\\*los: los is no factor"),
        # A fraction is no way out of a typing error.
        (TWO, {"claimed_effects": ["nrm"]}, "claimed_effects: nrm is no factor .*; the factors are norm, loss$"),
        (FOUR, {"fraction": 1, "claimed_effects": ["nrm"]}, "nrm is no factor .*; the factors are [a-z, ]*$"),
        # At once: to look at its fractions would take hours.
        (TWELVE, {"fraction": 6}, "factors: 12 given; give 2 to 8"),
        (TWO, {"arms": {"a": {}}}, "factors, arms: give exactly one of arms, factors, search"),
        (TWO, {"search": {"space": {}, "trials": 1}}, "factors, search: give exactly one"),
        (TWO, {"cumulative": True}, "cumulative: has no meaning for factors"),
        (TWO, {"paper": {"none+iou": ["v1.table4.none"]}}, "paper: rows of a paper differ in single arms"),
        (TWO, {"kind": "noise_floor"}, "kind=noise_floor: has arms that differ in seeds; leave the factors out"),
        (TWO, {"baseline": "gn+iou"}, r"baseline=gn\+iou: is none\+iou with these factors"),
    ],
)
def test_wrong_factors_are_refused_by_key(factors: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        experiment(factors, **changes)


def test_a_fraction_without_factors_has_no_effect() -> None:
    with pytest.raises(ConfigError, match=r"experiment\.fraction=1: has no effect without experiment\.factors"):
        compose(check_overrides(["+experiment=ablation_norm", "experiment.fraction=1"]))


def test_levels_can_be_changed_and_added_on_the_command_line() -> None:
    words = ["+experiment=factorial_centerness_sampling", "experiment.factors.norm.bn.model.head.norm=bn"]
    lab = compose(check_overrides([*words, "experiment.factors.norm.gn={model.head.norm: gn}"]))
    assert lab.experiment is not None
    assert len(lab.experiment.arms) == 8
    assert lab.experiment.baseline == "none+everywhere+bn"


def test_a_level_can_be_the_option_of_a_preset_group() -> None:
    words = ["experiment.factors.paper={v1: {conventions: v1}, v2: {conventions: v2}}"]
    lab = compose(check_overrides(["+experiment=factorial_centerness_sampling", *words]))
    assert lab.experiment is not None
    assert len({str(keys) for keys in lab.experiment.arms.values()}) == 8
    with pytest.raises(ConfigError, match=r"experiment\.factors\.paper\.v3\.conventions=v3: no such conventions"):
        compose(check_overrides(["+experiment=factorial_centerness_sampling", words[0].replace("v2", "v3")]))


@pytest.mark.parametrize(
    ("level", "message"),
    [
        ("{model.head.nrm: bn}", r"experiment\.factors: cell none\+everywhere\+b: no such key model\.head\.nrm"),
        (
            "{model.head.norm: gn}",
            r"the cells none\+everywhere\+a and none\+everywhere\+b resolve to the same config, although they differ "
            "in a and b of norm",
        ),
        (
            "{model.assignment.candidates_per_level: 5}",
            "candidates_per_level: has no effect with model.assignment.kind",
        ),
    ],
)
def test_levels_that_are_wrong_or_make_no_difference_are_refused(level: str, message: str) -> None:
    word = f"experiment.factors.norm={{a: {{model.head.norm: gn}}, b: {level}}}"
    lab = compose(check_overrides(["+experiment=factorial_centerness_sampling", word]))
    assert lab.experiment is not None
    with pytest.raises(ConfigError, match=message):
        arm_configs(lab.training, lab.experiment)


def test_effects_of_what_has_no_seeds_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"experiment\.factors: task=coverage has no seeds"):
        compose(check_overrides(["+experiment=factorial_centerness_sampling", "task=coverage"]))


def test_the_plan_describes_cells_and_aliases() -> None:
    design = experiment(FOUR, fraction=1).design
    assert design is not None
    cells, aliased = describe_design(design)
    assert cells.startswith("8 cells of the factors norm (none, gn), loss (iou, giou), ")
    assert cells.endswith("a fraction of resolution IV, I = norm*loss*sampling*quality")
    assert "norm*loss with +sampling*quality" in aliased and "norm with" not in aliased
    whole = experiment(TWO).design
    assert whole is not None
    assert describe_design(whole) == ["4 cells of the factors norm (none, gn), loss (iou, giou): all of them"]
