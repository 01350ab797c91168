"""A mistake on the command line gives one message with near matches; a valid key always works."""

import pytest

from fcos.section import ConfigError
from orchestration.command_line import check_overrides, help_text
from orchestration.config import compose

EXPERIMENT = "+experiment=ablation_centerness"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["+experiment=ablation_centernes"], "no such experiment; did you mean ablation_centerness"),
        (["model=fcos_v3"], "model=fcos_v3: no such model; did you mean fcos_v2_r50"),
        (["modle=fcos_small"], r"no such key modle; did you mean model|modle=fcos_small: no such key"),
        (["model.hed.norm=gn"], r"no such key model\.hed\.norm; did you mean model\.head\.norm"),
        (["schedule.lrr=1"], r"no such key schedule\.lrr; did you mean schedule\.lr"),
        (["schedule.steps=1,2"], "several values"),
        (["-m"], "--multirun"),
        (["--dry-run"], "--dry-run: no such option"),
        (["dry_run"], "dry_run: give a value as dry_run="),
        (["model.assignment.ranges=[[0,32]"], "not readable"),
        (["hydra.run.dir=/x"], r"no such key hydra\.run\.dir"),
    ],
)
def test_overrides_are_checked_before_hydra_sees_them(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_overrides(arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["schedule.steps=abc"], r"schedule\.steps='abc': input should be a valid integer"),
        (["schedule.steps=true"], r"schedule\.steps=True: input should be a valid integer"),
        (["schedule.lr=inf"], r"schedule\.lr=inf: input should be a finite number"),
        (["schedule.milestones=[-1,3]"], r"milestones=\[-1, 3\]: must be steps"),
        (["model.assignment.ranges=[[-5,32],[32,64],[64,128],[128,null]]"], r"\[-5, 32\] begins below 0"),
        ([EXPERIMENT, "seed=3"], r"seed=3: an experiment has seeds of its own; give experiment\.seeds=\[3\]"),
        (["data=coco"], r"data\.root is missing"),
        (["tracking=server"], r"tracking\.uri: a value is needed"),
        (["name=${nothing}"], "Interpolation key 'nothing' not found"),
        (["name=../x"], r"name='\.\./x': must be 1 to 64"),
        (["~schedule.stps"], "schedule.stps"),
        (["model.head.prior=3", "seed=-1"], r"model\.head\.prior=3(.|\n)*seed=-1"),
    ],
)
def test_values_are_checked_and_named(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        compose(check_overrides(arguments))
    assert "HYDRA_FULL_ERROR" not in str(caught.value)


def test_keys_with_defaults_need_no_plus_sign() -> None:
    arguments = ["schedule.ema=0.99", "model.head.scale_per_level=false", "cluster.concurrent=1"]
    lab = compose(check_overrides(arguments))
    assert lab.schedule.ema == 0.99
    assert lab.model.head.scale_per_level is False
    assert lab.cluster.concurrent == 1


def test_keys_of_a_section_that_is_null_can_be_set() -> None:
    lab = compose(check_overrides(["data.synthetic.max_objects=2"]))
    assert lab.data.synthetic is not None
    assert (lab.data.synthetic.max_objects, lab.data.synthetic.image_size) == (2, 128)


def test_a_chosen_model_keeps_nothing_of_the_default_one() -> None:
    lab = compose(check_overrides(["model=fcos_v2_r50"]))
    assert lab.model.backbone.name == "resnet50"
    assert lab.model.head.gn_groups == 32
    assert lab.model.fpn.channels == 256


@pytest.mark.parametrize("argument", ["+experiment=ablation_centerness", "experiment=ablation_centerness"])
def test_an_experiment_is_chosen_with_or_without_a_plus_sign(argument: str) -> None:
    lab = compose(check_overrides([argument]))
    assert lab.experiment is not None
    assert lab.experiment.name == "ablation_centerness"


def test_arms_can_be_changed_added_and_left_out() -> None:
    lab = compose(
        check_overrides(
            [
                EXPERIMENT,
                "experiment.arms.branch.model.head.num_convs=3",
                "experiment.arms.deep={model.head.num_convs: 4}",
                "~experiment.arms.from_regression",
                "~experiment.paper.from_regression",
                "experiment.seeds=[5]",
            ]
        )
    )
    assert lab.experiment is not None
    assert set(lab.experiment.arms) == {"none", "branch", "deep"}
    assert lab.experiment.seeds == (5,)


def test_help_lists_groups_options_and_experiments() -> None:
    text = help_text("sweep.py", "Purpose.", ["+experiment=ablation_centerness"])
    for word in ("fcos_v1_r50", "synthetic", "paper_1x", "many_gpus", "sqlite", "A predicted center-ness"):
        assert word in text
    assert "python orchestration/sweep.py +experiment=ablation_centerness" in text
