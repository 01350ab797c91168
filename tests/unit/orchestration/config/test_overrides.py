"""A mistake on the command line gives one message with near matches; a valid key always works."""

from pathlib import Path

import pytest

from fcos.errors import ConfigError
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides, help_text
from orchestration.tracking.addresses import sqlite_file

EXPERIMENT = "+experiment=ablation_centerness"
METRIC = "experiment.search.metric"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["+experiment=ablation_centernes"], "no such experiment; did you mean ablation_centerness"),
        (["model=fcos_v3"], "model=fcos_v3: no such model; did you mean fcos_v2_r50"),
        (["modle=fcos_small"], r"no such key modle; did you mean model|modle=fcos_small: no such key"),
        (["model.hed.norm=gn"], r"no such key model\.hed\.norm; did you mean model\.head\.norm"),
        (["schedule.lrr=1"], r"no such key schedule\.lrr; did you mean schedule\.lr"),
        (["schedule.steps=1,2"], "several values"),
        (["+experiment=noise_floor", "+experiment=oracles"], "a second experiment beside experiment=noise_floor"),
        (["schedule.milestones=1,2"], r"several values.*a list has brackets: 'schedule\.milestones=\[1,2\]'"),
        (["model.head.norm=g=n"], r"not readable; write 'model\.head\.norm=\"g=n\"' \(outer quotes for the shell"),
        (["dta.root=/a=b"], r"no such key dta\.root; did you mean data\.root"),
        (["experiment.arms.x={data.root: /a=b}"], "a list or mapping needs quotes in a shell"),
        (["--config-path", "/x"], r"--config-path: .* --config-dir=FOLDER, such as FOLDER/experiment/<name>\.yaml"),
        (["hydra.searchpath=[/x]"], r"hydra\.searchpath: .* --config-dir=FOLDER, such as FOLDER/experiment"),
        (["model=null"], "model=null: leave model out for fcos_small, or choose one: "),
        (["experiment=null"], "experiment=null: leave experiment out"),
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
        (["name=-x"], r"name='-x': .* not begin with a dot or a dash"),
        (["name=--help"], r"name='--help': .* not begin with a dot or a dash"),
        ([EXPERIMENT, "experiment.metrics=[]"], r"experiment\.metrics=\[\]: .* at least 1"),
        ([EXPERIMENT, "experiment.metrics=[val/AP,val/AP]"], "metrics=.*: each may be named once"),
        ([EXPERIMENT, "experiment.margin=0"], r"margin=0: must be above 0 and below 100, in percent points of AP"),
        ([EXPERIMENT, "experiment.margin=-1"], r"margin=-1: must be above 0 and below 100, in percent points of AP"),
        ([EXPERIMENT, "experiment.margin=100"], r"margin=100: must be above 0 and below 100, in percent points of AP"),
        (
            [EXPERIMENT, "experiment.margin=2", "experiment.metrics=[train/loss,val/AP]"],
            r"margin=2: has no effect with metrics=.* whose first is no AP; leave it out",
        ),
        *(
            (
                [EXPERIMENT, "experiment.margin=2", f"experiment.metrics=[{metric},val/AP]"],
                r"margin=2: has no effect with metrics=.* whose first is no AP; leave it out",
            )
            for metric in ("val/errors/missed", "val/cost/parameters", "val/score_iou/pearson")
        ),
        (
            ["+experiment=search_fcos", "experiment.margin=2"],
            r"experiment\.margin=2: has no effect with a search whose winner no seeds confirm; leave it out",
        ),
        (
            ["+experiment=search_fcos", "experiment.seeds=[0,1]", "experiment.margin=2", f"{METRIC}=train/loss"],
            r"margin=2: has no effect with search\.metric=train/loss, which is no AP; leave it out",
        ),
        ([EXPERIMENT, "experiment.margin=nan"], r"experiment\.margin=nan: input should be a finite number"),
        ([EXPERIMENT, "experiment.margin=much"], r"experiment\.margin='much': input should be a valid number"),
        (["~schedule.stps"], "schedule.stps"),
        (["model.head.prior=3", "seed=-1"], r"model\.head\.prior=3(.|\n)*seed=-1"),
    ],
)
def test_values_are_checked_and_named(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        compose(check_overrides(arguments))
    assert "HYDRA_FULL_ERROR" not in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        (EXPERIMENT, "experiment.metrics=[val/class_AP/disc,val/AP]"),
        (EXPERIMENT, "experiment.metrics=[val/ARs]"),
        ("+experiment=search_fcos", "experiment.seeds=[0,1]"),
        ("+experiment=search_fcos", "search.confirm_seeds=6"),
    ],
)
def test_a_margin_is_taken_wherever_a_verdict_uses_it(words: tuple[str, ...]) -> None:
    lab = compose(check_overrides([*words, "experiment.margin=2"]))
    assert lab.experiment is not None and lab.experiment.margin == 2


def test_keys_with_defaults_need_no_plus_sign() -> None:
    arguments = ["schedule.ema=0.99", "model.head.scale_per_level=false", "cluster.concurrent=1"]
    lab = compose(check_overrides(arguments))
    assert lab.schedule.ema == 0.99
    assert lab.model.head.scale_per_level is False
    assert lab.cluster.concurrent == 1


@pytest.mark.parametrize(
    "path",
    [
        *("/data/a=b", "/data/jürgen", "/data/cells(1)", "/data/a#b", "/data/o'neil", "~/coco", "/data/a,b"),
        *('/say "it"', "/data/my cells", "/a&b;c|d$e", "/x/{a}", "[a]/b", "123", "1e3", "true", "/a\\'b=", "/ends=\\"),
    ],
)
def test_a_path_is_taken_as_it_is_typed(path: str) -> None:
    lab = compose(check_overrides([f"output={path}", f"++data.cache_dir={path}", f"tracking.uri=sqlite:///{path}"]))
    whole = str(Path(path).expanduser().absolute())
    assert (lab.output, lab.data.cache_dir) == (path, whole)
    assert lab.tracking.uri is not None and sqlite_file(lab.tracking.uri) == Path(whole)


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("null", None),
        ('"/a=b"', "/a=b"),
        ("'/a,b'", "/a,b"),
        (r"/data/a\=b", "/data/a=b"),
        ("${output}/cache", "outputs/cache"),
        ("", ""),
    ],
)
def test_quotes_null_and_what_hydra_can_read_stay_hydras(typed: str, value: str | None) -> None:
    whole = str(Path(value).absolute()) if value else value
    assert compose(check_overrides([f"data.cache_dir={typed}"])).data.cache_dir == whole


def test_a_path_in_an_arm_is_taken_as_it_is_typed() -> None:
    lab = compose(check_overrides([EXPERIMENT, "experiment.arms.branch.data.root=/data/a=b"]))
    assert lab.experiment is not None
    assert lab.experiment.arms["branch"]["data.root"] == "/data/a=b"


def test_a_group_that_may_be_left_out_takes_null() -> None:
    assert compose(check_overrides(["conventions=null", "implementation=null"])) == compose([])


def test_the_last_choice_of_a_group_counts_as_the_last_value_does() -> None:
    assert check_overrides(["schedule=brief", "schedule=paper_2x"]) == ["schedule=paper_2x"]
    assert check_overrides(["conventions=null", "conventions=torchvision"]) == ["conventions=torchvision"]
    assert check_overrides(["conventions=torchvision", "conventions=null"]) == ["~conventions"]


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
    text = help_text("sweep", "Purpose.", ["+experiment=ablation_centerness"])
    for word in ("fcos_v1_r50", "synthetic", "paper_1x", "many_gpus", "sqlite", "A predicted center-ness"):
        assert word in text
    assert "python orchestration/sweep.py +experiment=ablation_centerness" in text
