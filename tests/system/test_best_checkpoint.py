"""Beside the newest checkpoints of a run stands the one of its best evaluation, also after a restart."""

from pathlib import Path
from typing import Any

import pytest
import torch

from fcos import training_run as training
from fcos.config.parse import parse
from fcos.config.run import Config
from fcos.evaluation.detect import Validation, validate
from fcos.runtime import LocalRuntime
from fcos.storage import checkpoint_folder
from fcos.storage.run_folder import BestEvaluation, ProgressRecord
from tests.helpers.present import present

# By step; every third is evaluated.
CURVE = {3: 0.2, 6: 0.5, 9: 0.5, 12: 0.1}


def values_of(tiny_values: dict[str, Any], **schedule: Any) -> Config:
    base = {"steps": 12, "warmup_steps": 2, "eval_every": 3, "checkpoint_every": 12, "keep_checkpoints": 1}
    return parse(Config, {**tiny_values, "schedule": {**tiny_values["schedule"], **base, **schedule}})


@pytest.fixture
def _given_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations whose values are given, as those of so small a run are all alike."""
    real = validate
    steps = iter([*CURVE.values(), 0.1])

    def validate_with_given_values(*arguments: Any, **keywords: Any) -> Validation:
        found = real(*arguments, **keywords)
        value = next(steps)
        return Validation({arm: {"val/AP": value} for arm in found.metrics}, found.detections)

    monkeypatch.setattr(training, "validate", validate_with_given_values)


def steps_of(folder: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step_")) for path in (folder / "checkpoints").glob("step_*"))


@pytest.mark.usefixtures("_given_values")
def test_last_and_best_are_kept_and_the_first_of_equals_is_the_best(
    tmp_path: Path, tiny_values: dict[str, Any]
) -> None:
    summary = training.run(values_of(tiny_values), LocalRuntime(tmp_path, torch.device("cpu")))
    assert steps_of(tmp_path) == [6, 12]
    assert summary.best == BestEvaluation(metric="val/AP", step=6, value=0.5, checkpoint="checkpoints/step_00000006")
    assert summary.checkpoint == "checkpoints/step_00000012"
    checkpoint_folder.verify(tmp_path / summary.best.checkpoint)


@pytest.mark.usefixtures("_given_values")
def test_a_restart_remembers_the_best_checkpoint(tmp_path: Path, tiny_values: dict[str, Any]) -> None:
    class Cut(Exception):
        pass

    def cut(record: ProgressRecord) -> None:
        if record.step == 9:
            raise Cut

    config = values_of(tiny_values, log_every=12)
    with pytest.raises(Cut):
        training.run(config, LocalRuntime(tmp_path, torch.device("cpu"), cut))
    assert steps_of(tmp_path) == [6]
    # What is evaluated from here on is worse.
    summary = training.run(config, LocalRuntime(tmp_path, torch.device("cpu")))
    assert summary.resumed_from == 6
    assert present(summary.best).step == 6
    assert steps_of(tmp_path) == [6, 12]


@pytest.mark.usefixtures("_given_values")
def test_without_a_metric_the_newest_stand_alone(tmp_path: Path, tiny_values: dict[str, Any]) -> None:
    config = values_of(tiny_values, best_metric=None)
    assert training.run(config, LocalRuntime(tmp_path, torch.device("cpu"))).best is None
    assert steps_of(tmp_path) == [12]
