"""Arms and seeds become the right trainings, and what is wrong with them is said."""

from typing import Any

import pytest

from fcos.config.parse import flatten, parse
from fcos.config.run import Config
from fcos.errors import ConfigError
from orchestration.config.experiment import ExperimentConfig
from orchestration.experiment.provenance import Provenance
from orchestration.experiment.trials import arm_configs, changed_keys, plan_trials

PROVENANCE = Provenance(code="c", versions={"torch": "1"})
NONE = {"model.head.quality": "none", "model.postprocess.quality": "none"}
DAGGER = {"model.head.quality": "none", "model.postprocess.quality": "from_regression"}
BRANCH = {"model.head.quality": "centerness", "model.postprocess.quality": "branch"}


def experiment(arms: dict[str, Any], **more: Any) -> ExperimentConfig:
    values = {"name": "test", "baseline": next(iter(arms)), "arms": arms, "seeds": [0, 1], **more}
    return parse(ExperimentConfig, values)


@pytest.fixture
def base(tiny_values: dict[str, Any]) -> Config:
    return parse(Config, tiny_values)


def test_arms_that_differ_in_inference_alone_share_a_training(base: Config) -> None:
    configs = arm_configs(base, experiment({"none": NONE, "dagger": DAGGER, "branch": BRANCH}))
    trials = plan_trials(configs, (0, 1, 2), PROVENANCE, dict.fromkeys(configs, "d"))
    assert [(trial.seed, list(trial.arms)) for trial in trials] == [
        (seed, arms) for seed in (0, 1, 2) for arms in (["none", "dagger"], ["branch"])
    ]
    shared = trials[0]
    assert shared.arms["none"].postprocess.quality == "none"
    assert shared.arms["dagger"].postprocess.quality == "from_regression"
    assert shared.identity_of("none") != shared.identity_of("dagger")
    assert shared.values_of("dagger")["model"]["postprocess"]["quality"] == "from_regression"
    assert shared.config.seed == 0


def test_arms_that_differ_in_the_average_alone_share_a_training(base: Config) -> None:
    arms = {"last": {"schedule.ema": None}, "fast": {"schedule.ema": 0.5}, "slow": {"schedule.ema": 0.9}}
    (shared,) = plan_trials(arm_configs(base, experiment(arms)), (0,), PROVENANCE, dict.fromkeys(arms, "d"))
    assert shared.averages == {0.5, 0.9} and list(shared.arms) == list(arms)
    assert [shared.values_of(arm)["schedule"]["ema"] for arm in arms] == [None, 0.5, 0.9]
    assert len({shared.identity_of(arm) for arm in arms}) == 3


def test_every_training_has_an_identity_of_its_own(base: Config) -> None:
    configs = arm_configs(base, experiment({"none": NONE, "branch": BRANCH}))
    trials = plan_trials(configs, (0, 1), PROVENANCE, dict.fromkeys(configs, "d"))
    assert len({trial.identity for trial in trials}) == 4


def test_arms_with_equal_seeds_share_a_training_of_one_seed_and_never_of_two(base: Config) -> None:
    fixed = {"seeds.weights": 3, "seeds.order": 0, "seeds.augmentation": 0}
    arms = {"all": {}, "weights": {**fixed, "seeds.weights": None}, "fixed": fixed}
    configs = arm_configs(base, experiment(arms, kind="noise_floor"))
    trials = plan_trials(configs, (0, 3), PROVENANCE, dict.fromkeys(configs, "d"))
    assert [(trial.seed, list(trial.arms)) for trial in trials] == [
        (0, ["all", "weights"]),
        (0, ["fixed"]),
        (3, ["all"]),
        (3, ["weights", "fixed"]),
    ]


def test_arms_with_other_data_do_not_share(base: Config) -> None:
    configs = arm_configs(base, experiment({"none": NONE, "dagger": DAGGER}))
    trials = plan_trials(configs, (0,), PROVENANCE, {"none": "d", "dagger": "other"})
    assert len(trials) == 2


def test_nested_and_dotted_keys_are_the_same_and_the_last_word_wins() -> None:
    assert flatten({"a.b": 1, "a": {"b": 2, "c": {"d": 3}}}) == {"a.b": 2, "a.c.d": 3}


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ({"a": {"model.head.nrm": "bn"}}, r"arms\.a: no such key model\.head\.nrm.*model\.head\.norm"),
        ({"a": {"seed": 3}}, r"arms\.a: seed: a seed is nothing that an arm or a search may choose"),
        ({"a": {"seeds": {"weights": 3}}}, r"arms\.a: seeds\.weights: a seed is nothing .* kind=noise_floor"),
        ({"a": {"data.synthetic.seed": 3}}, r"data\.synthetic\.seed: a seed is nothing"),
        ({"a": {"seeds.ordre": 3}}, r"no such key seeds\.ordre.*seeds\.order"),
        ({"a": {"cluster.workers": 2}}, r"no such key cluster\.workers"),
        ({"a": {"model.head.norm.x": 2}}, r"no such key model\.head\.norm\.x"),
        ({"a": {"model.head.norm": "ln"}}, r"experiment\.arms\.a: model\.head\.norm='ln'"),
        ({"a": NONE, "b": {**NONE}}, "a and b resolve to the same config"),
        ({"a": {}, "b": {"model.head.quality": "centerness"}}, "a and b resolve to the same config"),
        ({"a": {}, "b": {"schedule.log_every": 7}}, "a and b resolve to the same config"),
    ],
)
def test_wrong_arms_are_refused_by_name(base: Config, arms: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        arm_configs(base, experiment(arms))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"baseline": "c"}, "baseline=c: is not an arm; the arms are a, b"),
        ({"seeds": [0, 0]}, r"seeds=\[0, 0\]: must be different"),
        ({"seeds": [-1]}, "not negative"),
        ({"seeds": []}, "seeds"),
        ({"name": "../x"}, r"name='\.\./x': must be"),
        ({"arms": {"a": {}, "b/c": {}}}, "the arm 'b/c' must be"),
        ({"paper": {"z": ["v1.table4.none"]}}, "paper: z: no such arm"),
        ({"claims": "x"}, "claims='x': no such key; did you mean claim"),
        ({"kind": "noise_floor"}, r"arms\.b: model\.head\.norm: with kind=noise_floor all arms train the same"),
        ({"kind": "noise_floor", "arms": {"a": {"seeds": {"order": 1}}}}, r"arms\.a: seeds\.order: is the baseline"),
        ({"effect": 0}, "effect=0: "),
        ({"effect": 100}, "effect=100: "),
    ],
)
def test_wrong_experiments_are_refused_by_key(changes: dict[str, Any], message: str) -> None:
    arms: dict[str, Any] = {"a": {}, "b": {"model.head.norm": "bn"}}
    values = {"name": "test", "baseline": "a", "arms": arms, "seeds": [0]}
    with pytest.raises(ConfigError, match=message):
        parse(ExperimentConfig, {**values, **changes})


def test_changed_keys_names_old_and_new() -> None:
    before = {"a": {"b": 1, "c": 2}, "gone": 1}
    assert changed_keys(before, {"a": {"b": 1, "c": 3}, "new": None}) == ["a.c: 2 -> 3", "gone: 1 -> None"]
