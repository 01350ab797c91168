"""What would end a training at its first step is said before Ray starts."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from fcos.section import ConfigError
from orchestration.command_line import check_overrides
from orchestration.config import compose
from orchestration.data import prepare_data
from orchestration.planning import make_plan
from orchestration.preflight import fetch_weights

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
def test_a_mistake_in_an_arm_is_told_with_the_plan(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_plan(compose(check_overrides([EXPERIMENT, *arguments])), lambda config: ("d", ()))


def test_sync_bn_in_one_process_and_metrics_of_other_kinds_pass() -> None:
    arguments = ["model.head.norm=sync_bn", "experiment.metrics=[val/class_AP/disc,train/loss]"]
    make_plan(compose(check_overrides([EXPERIMENT, *arguments])), lambda config: ("d", ()))


def test_weights_that_cannot_be_downloaded_are_told_with_the_place_for_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", _offline)
    plan = make_plan(
        compose(check_overrides([EXPERIMENT, RESNET, "model.backbone.weights=IMAGENET1K_V1"])),
        lambda config: ("d", ()),
    )
    with pytest.raises(ConfigError, match=r"weights=IMAGENET1K_V1: https://\S+ cannot be downloaded \(offline\)"):
        fetch_weights(plan.arms.values())


def _offline(*_: object, **__: object) -> None:
    raise OSError("offline")


@pytest.mark.parametrize(
    ("arguments", "workers", "message"),
    [
        (["schedule.batch_size=50"], 1, r"schedule\.batch_size=50: the training set has only 4 images"),
        (["schedule.batch_size=3"], 2, r"schedule\.batch_size=3: must be divisible by accumulate \* workers"),
    ],
)
def test_a_batch_that_cannot_be_made_is_told_with_the_data(
    tmp_path: Path, arguments: list[str], workers: int, message: str
) -> None:
    drawn = ["data.synthetic.train_images=4", "data.synthetic.val_images=2", "data.synthetic.image_size=64"]
    sized = ["data.synthetic.object_size=[10,40]", f"data.cache_dir={tmp_path}"]
    lab = compose(check_overrides([*drawn, *sized, *arguments]))
    with pytest.raises(ConfigError, match=message):
        prepare_data(lab.training, Console(file=io.StringIO()), workers)
