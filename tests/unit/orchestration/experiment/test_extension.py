"""A checkpoint that is gone on from by choice: what may differ, and what is refused."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from fcos.config.parse import parse, with_keys
from fcos.config.run import Config
from fcos.errors import ConfigError
from fcos.storage import checkpoint_folder
from fcos.training import checkpoint
from orchestration.experiment.extension import MissingCheckpointError, find_extension
from orchestration.experiment.identity import train_identity
from orchestration.experiment.provenance import Provenance


@pytest.fixture
def config(tiny_values: dict[str, Any]) -> Config:
    return parse(Config, tiny_values)


@pytest.fixture
def run_folder(config: Config, tmp_path: Path) -> Path:
    """A run's folder with a checkpoint of its last step."""
    checkpoint.save(
        tmp_path / "run" / "checkpoints",
        step=config.schedule.steps,
        config=config.model_dump(mode="json"),
        classes=(),
        model=nn.Linear(1, 1),
        averages={},
        state={"optimizer": {}},
    )
    return tmp_path / "run"


def test_another_schedule_goes_on_from_the_run_or_its_checkpoint(config: Config, run_folder: Path) -> None:
    longer = with_keys(
        config, {"schedule.steps": 9, "schedule.decay": "none", "schedule.lr": 0.5, "data.num_workers": 2}
    )
    path = run_folder / "checkpoints" / "step_00000006"
    for given in (run_folder, path):
        extension = find_extension(str(given), [longer])
        assert (extension.path, extension.step) == (path, 6)
        assert extension.run_folder == run_folder and extension.sha256 == checkpoint_folder.digest(path)
        assert "began with weights and optimizer of step 6" in extension.note


def test_the_folder_of_a_command_stands_for_its_only_training(config: Config, run_folder: Path, tmp_path: Path) -> None:
    longer = with_keys(config, {"schedule.steps": 9})
    (tmp_path / "single" / "trials").mkdir(parents=True)
    run_folder.rename(tmp_path / "single" / "trials" / "one")
    assert find_extension(str(tmp_path / "single"), [longer]).run_folder == tmp_path / "single" / "trials" / "one"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, r"is of step 6, and schedule\.steps=6 ends there or before"),
        ({"seed": 1, "model.head.num_convs": 2}, r"model\.head\.num_convs=1, not 2; seed=0, not 1; only the schedule"),
        ({"data.flip": 0.1, "schedule.steps": 9}, r"data\.flip=0\.5, not 0\.1"),
        ({"schedule.weight_decay": 0.5, "schedule.steps": 9}, r"schedule\.weight_decay=0\.01, not 0\.5"),
        ({"schedule.ema": 0.9, "schedule.steps": 9}, r"holds no moving average of schedule\.ema=0\.9"),
    ],
)
def test_what_does_not_go_on_is_refused_with_the_keys(
    config: Config, run_folder: Path, keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        find_extension(str(run_folder), [with_keys(config, keys)])


def test_weights_alone_and_missing_folders_are_refused(config: Config, run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"extend=.*nowhere: no such folder"):
        find_extension(str(tmp_path / "nowhere"), [config])


def test_what_was_gone_on_from_decides_the_identity(config: Config) -> None:
    plain, one, other = (train_identity(config, Provenance("c", {}), "d", extends) for extends in ("", "a", "b"))
    assert len({plain, one, other}) == 3


def test_removed_checkpoints_of_a_finished_training_are_named_as_such(config: Config, run_folder: Path) -> None:
    (run_folder / "summary.json").write_text("{}")
    path = run_folder / "checkpoints" / "step_00000006"
    path.rename(path.with_name("step_00000003"))
    with pytest.raises(
        MissingCheckpointError, match=r"finished and has those of the steps 3 alone.*another name=\.\.\."
    ):
        find_extension(str(path), [config])
    shutil.rmtree(run_folder / "checkpoints")
    for given in (run_folder, path):
        with pytest.raises(MissingCheckpointError, match=r"finished and has no checkpoint any more.*keep\.trained"):
            find_extension(str(given), [config])
