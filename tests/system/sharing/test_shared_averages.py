"""Arms that evaluate other moving averages of the weights share a training, with the numbers of trainings apart."""

from pathlib import Path
from typing import Any

import pytest
import torch

from fcos.config.evaluation import EvaluationSettings
from fcos.config.parse import parse, with_keys
from fcos.config.run import Config
from fcos.inference import evaluate, load_trained
from fcos.runtime import LocalRuntime
from fcos.storage.checkpoint_folder import CheckpointError
from fcos.storage.run_folder import MetricPoint, RunSummary
from fcos.training import checkpoint
from fcos.training_run import run
from tests.helpers.present import present

CPU = torch.device("cpu")
DECAYS: dict[str, float | None] = {"last": None, "fast": 0.5, "slow": 0.9}


@pytest.fixture
def config(tiny_values: dict[str, Any]) -> Config:
    # So that detections of so short a training give metrics that differ.
    return with_keys(parse(Config, tiny_values), {"model.postprocess.score_threshold": 0.001})


def settings_of(config: Config, *arms: str) -> dict[str, EvaluationSettings]:
    return {arm: EvaluationSettings(postprocess=config.model.postprocess, ema=DECAYS[arm]) for arm in arms}


def trained(
    config: Config, folder: Path, arms: dict[str, EvaluationSettings] | None = None
) -> tuple[RunSummary, list[MetricPoint]]:
    points: list[MetricPoint] = []
    return run(config, LocalRuntime(folder, CPU, lambda record: points.extend(record.points)), arms), points


def test_each_arm_has_the_numbers_and_weights_of_a_training_of_its_own(config: Config, tmp_path: Path) -> None:
    shared, points = trained(config, tmp_path / "shared", settings_of(config, *DECAYS))
    together = checkpoint.load(tmp_path / "shared" / present(shared.checkpoint))
    for arm, decay in DECAYS.items():
        alone, own = trained(with_keys(config, {"schedule.ema": decay}), tmp_path / arm)
        assert shared.metrics[arm] == alone.metrics[""]
        evaluated = [(key, step, value) for of_arm, key, step, value in points if of_arm == arm]
        assert evaluated == [(key, step, value) for of_arm, key, step, value in own if of_arm == ""]
        weights = checkpoint.load(tmp_path / arm / present(alone.checkpoint)).weights
        assert all(torch.equal(together.weights_of(decay)[name], value) for name, value in weights.items())
    assert list(shared.metrics) == list(DECAYS)
    assert len({tuple(metrics.values()) for metrics in shared.metrics.values()}) == 3, "the averages differ"


def test_a_cut_training_goes_on_with_all_of_its_averages(config: Config, tmp_path: Path) -> None:
    arms = settings_of(config, *DECAYS)
    whole, _ = trained(config, tmp_path / "whole", arms)

    def cut_off(record: Any) -> None:
        if record.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, LocalRuntime(tmp_path / "cut", CPU, cut_off), arms)
    resumed, _ = trained(config, tmp_path / "cut", arms)
    assert resumed.resumed_from == 3 and resumed.metrics == whole.metrics


def test_an_average_that_was_not_kept_is_trained_from_the_start_with_a_note(config: Config, tmp_path: Path) -> None:
    trained(config, tmp_path, settings_of(config, "last"))
    again, _ = trained(config, tmp_path, settings_of(config, "last", "fast"))
    assert again.resumed_from == 0
    assert any("holds no moving average of schedule.ema=0.5" in note for note in again.notes)
    # What was kept is enough for fewer arms.
    fewer, points = trained(config, tmp_path, settings_of(config, "fast"))
    assert fewer.resumed_from == config.schedule.steps
    assert fewer.metrics["fast"] == again.metrics["fast"]
    assert not [point for point in points if point.key == "train/loss"]


def test_evaluate_takes_the_configured_average_or_the_requested_one(config: Config, tmp_path: Path) -> None:
    shared, _ = trained(config, tmp_path, settings_of(config, *DECAYS))
    default = evaluate(load_trained(tmp_path, CPU, {}), batch_size=8)
    assert default == shared.metrics["last"]
    for arm, decay in DECAYS.items():
        chosen = load_trained(tmp_path, CPU, {"schedule.ema": decay})
        assert evaluate(chosen, batch_size=8) == shared.metrics[arm]
    with pytest.raises(CheckpointError, match=r"schedule\.ema=0\.7; there are null, 0\.5, 0\.9"):
        load_trained(tmp_path, CPU, {"schedule.ema": 0.7})
