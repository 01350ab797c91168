"""A training that begins from another one's checkpoint has the numbers of one from the start, to the last digit."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fcos.config.parse import parse, with_keys
from fcos.config.run import Config
from fcos.runtime import LocalRuntime
from fcos.storage.checkpoint_folder import digest, folder_of, steps_in
from fcos.storage.run_folder import FORKS, MetricPoint, ProgressRecord, RunSummary
from fcos.training import checkpoint
from fcos.training_run import run
from orchestration.experiment.common_steps import common_steps
from tests.helpers.present import present

CPU = torch.device("cpu")
# Arms of ablation_decay, each with what it begins from; forks lie between reports, at one, and at the last step.
ARMS: dict[str, dict[str, Any]] = {
    "cosine": {"schedule.decay": "cosine"},
    "step": {"schedule.decay": "step", "schedule.milestones": [7, 9]},
    "step_to_half": {"schedule.decay": "step", "schedule.milestones": [7, 9], "schedule.decay_factor": 0.5},
    "none": {"schedule.decay": "none"},
    "short": {"schedule.decay": "none", "schedule.steps": 7},
    "later": {"schedule.decay": "step", "schedule.milestones": [8]},
}
TRUNKS = {"step": "cosine", "step_to_half": "step", "none": "step", "short": "step", "later": "none"}
COMMON = {"step": 3, "step_to_half": 7, "none": 7, "short": 7, "later": 8}


@pytest.fixture
def configs(tiny_values: dict[str, Any]) -> dict[str, Config]:
    tiny_values["schedule"] |= {"steps": 12, "eval_every": 4, "checkpoint_every": 4, "log_every": 2}
    base = with_keys(parse(Config, tiny_values), {"model.postprocess.score_threshold": 0.001, "schedule.ema": 0.5})
    return {arm: with_keys(base, changes) for arm, changes in ARMS.items()}


def trained(config: Config, folder: Path, forks: tuple[int, ...] = ()) -> tuple[RunSummary, list[MetricPoint]]:
    points: list[MetricPoint] = []
    runtime = LocalRuntime(folder, CPU, lambda record: points.extend(record.points))
    return run(config, runtime, forks=forks), [point for point in points if point.key != "train/images_per_second"]


def take(trunk: Path, folder: Path, step: int) -> None:
    """Begin a training where another one has left a checkpoint."""
    shutil.copytree(folder_of(trunk / FORKS, step), folder_of(folder / "checkpoints", step))


def state_of(folder: Path, summary: RunSummary) -> list[torch.Tensor]:
    found = checkpoint.load(folder / present(summary.checkpoint))
    optimizer = found.state["optimizer"]["state"]
    moments = [value for each in optimizer.values() for value in each.values()]
    return [*found.model.values(), *found.weights.values(), *moments, *found.state["generators"][0].values()]


def test_arms_of_a_decay_ablation_end_as_if_trained_from_the_start(configs: dict[str, Config], tmp_path: Path) -> None:
    steps = 0
    for arm, config in configs.items():
        forks = tuple(COMMON[other] for other, trunk in TRUNKS.items() if trunk == arm)
        step = COMMON.get(arm, 0)
        if arm in TRUNKS:
            assert common_steps(config.schedule, configs[TRUNKS[arm]].schedule) == step
            take(tmp_path / TRUNKS[arm], tmp_path / arm, step)
        shared, points = trained(config, tmp_path / arm, forks)
        alone, expected = trained(config, tmp_path / f"{arm}_alone")
        assert shared.metrics == alone.metrics and shared.resumed_from == step
        assert points == [point for point in expected if point.step > step or point.step == config.schedule.steps]
        ours, theirs = state_of(tmp_path / arm, shared), state_of(tmp_path / f"{arm}_alone", alone)
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
        steps += config.schedule.steps - step
    assert steps == 12 + 9 + 5 + 5 + 0 + 4


def test_a_fork_changes_nothing_that_its_trunk_reports(configs: dict[str, Config], tmp_path: Path) -> None:
    plain, expected = trained(configs["step"], tmp_path / "plain")
    forked, points = trained(configs["step"], tmp_path / "forked", forks=(3, 7, 8, 12))
    assert points == expected and forked.metrics == plain.metrics
    assert forked.checkpoint_sha256 == plain.checkpoint_sha256
    assert steps_in(tmp_path / "forked" / FORKS) == {3, 7, 8, 12}


def test_a_cut_trunk_leaves_each_fork_that_its_checkpoints_have_passed(
    configs: dict[str, Config], tmp_path: Path
) -> None:
    def cut_off(record: ProgressRecord) -> None:
        if record.step == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(configs["step"], LocalRuntime(tmp_path, CPU, cut_off), forks=(3, 7))
    assert steps_in(tmp_path / FORKS) == {3, 7}
    whole = {step: digest(folder_of(tmp_path / FORKS, step)) for step in (3, 7)}
    trained(configs["step"], tmp_path, forks=(3, 7))
    assert whole == {step: digest(folder_of(tmp_path / FORKS, step)) for step in (3, 7)}


def test_two_workers_go_on_from_a_fork_of_two_as_if_trained_from_the_start(
    tiny_values: dict[str, Any], tmp_path: Path, run_with_workers: Callable[[dict[str, Any], Path, int], list[Any]]
) -> None:
    tiny_values["schedule"] |= {"steps": 12, "eval_every": 4, "checkpoint_every": 4, "log_every": 2}
    tiny_values["model"].setdefault("postprocess", {})["score_threshold"] = 0.001
    # Each keeps a checkpoint at its first milestone.
    step, none = (
        {**tiny_values, "schedule": {**tiny_values["schedule"], **changes}}
        for changes in ({"decay": "step", "milestones": [7, 9]}, {"decay": "none"})
    )
    run_with_workers(step, tmp_path / "step", 2)
    take(tmp_path / "step", tmp_path / "shared", 7)
    alone = run_with_workers(none, tmp_path / "alone", 2)
    shared = run_with_workers(none, tmp_path / "shared", 2)
    for (summary, curve, _), (expected, whole, _) in zip(shared, alone, strict=True):
        assert (summary.resumed_from, summary.metrics) == (7, expected.metrics)
        assert curve == [point for point in whole if point[0] > 7]
