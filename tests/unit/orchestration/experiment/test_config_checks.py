"""What would end a training at its first step is said before Ray starts."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from fcos.errors import ConfigError
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.experiment.data import DatasetInfo, prepare_data
from orchestration.experiment.weights import fetch_weights
from orchestration.planning.make_plan import make_plan

EXPERIMENT = "+experiment=ablation_centerness"
RESNET = "model.backbone.name=resnet18"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([RESNET, "model.backbone.weights=IMAGENET1K_V3"], "no such weights of resnet18; did you mean IMAGENET1K_V1"),
        (["model.head.norm=sync_bn", "cluster.workers=2"], r"model\.head\.norm=sync_bn: .* CUDA devices only"),
        (["experiment.metrics=[val/APP]"], r"val/APP: no such metric; did you mean val/AP "),
        (["schedule.best_metric=val/APP"], r"schedule\.best_metric: val/APP: no such metric; did you mean val/AP "),
        (
            ["experiment.metrics=[val/errors/class]"],
            r"val/errors/class: is not measured; add errors to model\.postproc",
        ),
        (["experiment.metrics=[AP]"], r"metrics: AP: no such metric; did you mean val/AP\?"),
        (["experiment.metrics=[train/lss]"], r"metrics: train/lss: no such metric; did you mean train/loss "),
        (["experiment.metrics=[coverage/bpr]"], r"metrics: coverage/bpr: no such metric"),
        (["schedule.best_metric=train/loss"], r"best_metric: train/loss: must begin with val/"),
        (
            ["schedule.best_metric=val/ambiguous/detections", "model.postprocess.analyses=[ambiguous]"],
            r"best_metric: val/ambiguous/detections: neither more nor less of it is better",
        ),
        (
            ["experiment.metrics=[train/lr,val/AP]", "keep.trained=1"],
            r"keep\.trained=1: ranks by the first .*, and neither more nor less of train/lr is better",
        ),
        (
            ["experiment.metrics=[train/memory_gb]", "keep.trained=1"],
            r"keep\.trained ranks: train/memory_gb will have no value: the memory of a GPU is measured",
        ),
        (["experiment.metrics=[val/errors/clas]"], r"val/errors/clas: no such metric; did you mean val/errors/class"),
        (
            ["model.assignment.kind=simota", "cluster.workers=4", "cluster.min_workers=2", "schedule.batch_size=12"],
            r"cluster\.min_workers=2: model\.assignment\.kind=simota assigns by the outputs of all images",
        ),
        (["experiment.arms.x.model.backbone.norm=sync_bn", "cluster.workers=2"], r"backbone\.norm=sync_bn"),
        (
            ["schedule.batch_size=16", "cluster.workers=4", "cluster.min_workers=2"],
            r"cluster\.min_workers=2: the 16 images of schedule\.batch_size / accumulate do not divide over 3 workers",
        ),
    ],
)
def test_a_mistake_in_an_arm_is_refused_with_the_plan(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_plan(compose(check_overrides([EXPERIMENT, *arguments])), lambda config: ("d", ()))


def test_sync_bn_in_one_process_and_metrics_of_other_kinds_pass() -> None:
    arguments = ["model.head.norm=sync_bn", "experiment.metrics=[val/class_AP/disc,train/loss]", "keep.trained=1"]
    make_plan(compose(check_overrides([EXPERIMENT, *arguments])), lambda config: FACTS)


COVERAGE = "+experiment=table1_bpr"
SEARCH = "+experiment=search_fcos"
# Data of two classes, one of them without a box in validation, and no large box.
FACTS = DatasetInfo(
    "d", (), ("val/class_AP/disc", "val/class_AP/ring"), frozenset({"val/APl", "val/ARl", "val/class_AP/ring"})
)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([EXPERIMENT, "experiment.metrics=[val/class_AP/dics]"], "the data have no such class; did you mean .*/disc"),
        ([EXPERIMENT, "schedule.best_metric=val/class_AP/dics"], r"schedule\.best_metric: .* no such class"),
        ([EXPERIMENT, "schedule.best_metric=val/APl"], "val/APl will have no value: .* no box of that size"),
        ([EXPERIMENT, "experiment.metrics=[val/class_AP/ring]", "keep.trained=2"], "no box of that class"),
        ([SEARCH, "experiment.search.metric=val/class_AP/dics"], r"search\.metric: .* no such class"),
        ([SEARCH, "experiment.search.metric=val/ARl", "search=asha"], r"search\.metric: val/ARl will have no value"),
        ([COVERAGE, "experiment.metrics=[val/AP]"], "val/AP: no such metric of task=coverage; there are: coverage/bpr"),
        ([COVERAGE, "experiment.metrics=[coverage/brp]"], "coverage/brp: no such metric.*did you mean coverage/bpr"),
        ([COVERAGE, "keep.trained=1"], r"keep\.trained=1: has no effect with task=coverage"),
    ],
)
def test_a_metric_that_these_data_do_not_give_is_refused_before_the_start(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_plan(compose(check_overrides(arguments)), lambda config: FACTS)


def test_a_metric_of_a_report_without_a_value_is_remarked() -> None:
    arguments = [EXPERIMENT, "experiment.metrics=[val/AP,val/APl,val/class_AP/ring,train/memory_gb]"]
    assert make_plan(compose(check_overrides(arguments)), lambda config: FACTS).notes == (
        "val/APl will have no value: the validation images have no box of that size",
        "val/class_AP/ring will have no value: the validation images have no box of that class",
        "train/memory_gb will have no value: the memory of a GPU is measured, and cluster.device=cpu",
    )


def test_a_search_for_the_worse_end_is_remarked() -> None:
    arguments = [SEARCH, "experiment.search.mode=min", "experiment.search.trials=1"]
    (note,) = make_plan(compose(check_overrides(arguments)), lambda config: FACTS).notes
    assert note.endswith("looks for the minimum of val/AP, of which more is better")


def test_weights_that_cannot_be_downloaded_are_reported_with_the_path_for_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", _offline)
    plan = make_plan(
        compose(check_overrides([EXPERIMENT, RESNET, "model.backbone.weights=IMAGENET1K_V1"])),
        lambda config: ("d", ()),
    )
    with pytest.raises(ConfigError, match=r"weights=IMAGENET1K_V1: https://\S+ cannot be downloaded \(offline\)"):
        fetch_weights(plan.arms.values(), Console(quiet=True))


def test_prepared_data_know_their_classes_and_what_has_no_truth(tmp_path: Path) -> None:
    drawn = ["data.synthetic.train_images=8", "data.synthetic.val_images=2", "data.synthetic.image_size=64"]
    sized = ["data.synthetic.object_size=[10,40]", f"data.cache_dir={tmp_path}"]
    lab = compose(check_overrides([*drawn, *sized]))
    info = prepare_data(lab.training, Console(file=io.StringIO()), 1)
    assert info.class_keys is not None and "val/class_AP/disc" in info.class_keys
    assert {"val/APl", "val/ARl"} <= info.metrics_without_truth
    assert "val/AP" not in info.metrics_without_truth


def _offline(*_: object, **__: object) -> None:
    raise OSError("offline")


@pytest.mark.parametrize(
    ("arguments", "workers", "message"),
    [
        (["schedule.batch_size=50"], 1, r"schedule\.batch_size=50: the training set has only 4 images"),
        (["schedule.batch_size=3"], 2, r"schedule\.batch_size=3: must be divisible by accumulate \* workers"),
    ],
)
def test_a_batch_that_cannot_be_made_is_reported_with_the_data(
    tmp_path: Path, arguments: list[str], workers: int, message: str
) -> None:
    drawn = ["data.synthetic.train_images=4", "data.synthetic.val_images=2", "data.synthetic.image_size=64"]
    sized = ["data.synthetic.object_size=[10,40]", f"data.cache_dir={tmp_path}"]
    lab = compose(check_overrides([*drawn, *sized, *arguments]))
    with pytest.raises(ConfigError, match=message):
        prepare_data(lab.training, Console(file=io.StringIO()), workers)
