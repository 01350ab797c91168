"""Weights that trainings begin from count by their content, wherever they lie."""

import io
import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console

from fcos.config.parse import with_keys
from fcos.config.run import Config
from fcos.errors import ConfigError
from fcos.model.backbone import build_backbone
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.experiment.data import prepare_data
from orchestration.experiment.identity import train_identity
from orchestration.experiment.provenance import Provenance
from orchestration.experiment.weights import BeginningNotes, check_weights, pin_weights
from orchestration.planning.make_plan import make_single_plan

PROVENANCE = Provenance(code="c", versions={})


def config_of(*overrides: str) -> Config:
    return compose(check_overrides(overrides)).training


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of the embedded default's backbone."""
    torch.manual_seed(5)
    backbone = build_backbone(config_of().model.backbone, first_level=3, last_level=5)
    torch.save(backbone.state_dict(), tmp_path / "backbone.pth")
    return tmp_path / "backbone.pth"


def identity(config: Config) -> str:
    return train_identity(pin_weights(config), PROVENANCE, "d")


def test_the_path_of_a_file_decides_nothing_and_its_content_all(file: Path, tmp_path: Path) -> None:
    moved = shutil.copy(file, tmp_path / "moved.pth")
    first = identity(config_of(f"model.backbone.weights={file}"))
    assert identity(config_of(f"model.backbone.weights={moved}")) == first
    torch.save({"other": torch.ones(1)}, file)
    assert identity(config_of(f"model.backbone.weights={file}")) != first
    assert identity(config_of()) != first


def test_a_relative_path_is_made_absolute(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    monkeypatch.chdir(file.parent)
    assert config_of(f"model.backbone.weights={file.name}").model.backbone.weights == str(file)
    assert config_of("model.weights=runs/one").model.weights == str(file.parent / "runs" / "one")


def test_a_digest_that_was_given_holds(file: Path) -> None:
    config = config_of(f"model.backbone.weights={file}", "model.backbone.weights_sha256=abc")
    with pytest.raises(ConfigError, match=r"backbone\.weights=.* holds other weights .* those of the plan \(abc\)"):
        pin_weights(config)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.backbone.weights=none.pth"], r"none\.pth: cannot be read"),
        (["model.weights=none"], r"model\.weights=.*none: no such folder or file"),
    ],
)
def test_missing_weights_are_refused_with_the_plan(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pin_weights(config_of(*overrides))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.backbone.name=timm/resnet10"], "timm has no such network; did you mean"),
        (["model.backbone.name=resnet18", "model.backbone.weights=V1"], "no such weights of resnet18"),
    ],
)
def test_names_that_do_not_exist_are_refused_with_close_matches(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_weights(config_of(*overrides))


def test_a_plan_names_what_of_a_file_is_not_used(file: Path, tmp_path: Path) -> None:
    content = torch.load(file, weights_only=True)
    torch.save({**content, "fc.weight": torch.ones(3)}, file)
    small = ["data.synthetic.train_images=8", "data.synthetic.val_images=2", "data.synthetic.image_size=64"]
    sized = ["data.synthetic.object_size=[10,40]", f"data.cache_dir={tmp_path}", "schedule.lr=0.0005"]
    lab = compose(check_overrides([f"model.backbone.weights={file}", *small, *sized]))
    plan = make_single_plan(lab, lambda config: prepare_data(config, Console(file=io.StringIO()), 1))
    assert "1 of its tensors have no place in small_resnet: fc.weight" in "\n".join(plan.notes)
    assert plan.trials[0].config.model.backbone.weights_sha256 is not None


def test_a_file_of_another_network_is_refused_with_the_plan(file: Path) -> None:
    config = pin_weights(config_of(f"model.backbone.weights={file}", "model.backbone.name=resnet18"))
    with pytest.raises(ConfigError, match=r"only \d+ of the \d+ tensors of resnet18 match by name and shape"):
        BeginningNotes().of(config, ("a",))


def test_a_rate_that_destroys_pretrained_weights_is_remarked() -> None:
    weights = "model.backbone.weights=IMAGENET1K_V1"
    config = config_of("model.backbone.name=mobilenet_v2", weights, "schedule=embedded")
    (note,) = BeginningNotes().of(config, None)
    assert "learns at 0.01 with AdamW" in note and "schedule=finetune" in note
    for keys in ({"schedule.lr": 0.0005}, {"schedule.backbone_lr_factor": 0.05}, {"model.backbone.weights": None}):
        assert BeginningNotes().of(with_keys(config, keys), None) == ()
