"""Learning rate schedules, weight decay groups, and the moving average."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from fcos.config.run import ScheduleConfig
from fcos.training.lr_factor import lr_factor
from fcos.training.optim import make_lr_scheduler, make_optimizer, moving_average, parameter_groups

PAPER: dict[str, Any] = {
    "steps": 90_000, "warmup": "constant", "warmup_steps": 500, "warmup_factor": 1 / 3, "decay": "step",
    "milestones": (60_000, 80_000), "decay_factor": 0.1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 1 / 3),
        (499, 1 / 3),
        (500, 1),
        (59_999, 1),
        (60_000, 0.1),
        (79_999, 0.1),
        (80_000, 0.01),
        (89_999, 0.01),
    ],
)
def test_step_decay_equals_the_papers_schedule(step: int, expected: float) -> None:
    assert lr_factor(**PAPER)(step) == pytest.approx(expected)


def test_linear_warm_up_reaches_one_and_cosine_falls_to_zero() -> None:
    factor = lr_factor(**{**PAPER, "steps": 100, "warmup": "linear", "warmup_steps": 10, "decay": "cosine"})
    values = [factor(step) for step in range(100)]
    assert values[9] == pytest.approx(1) and values[10] == pytest.approx(1)
    assert all(earlier < later for earlier, later in pairwise(values[:10]))
    assert all(later > earlier for later, earlier in pairwise(values[10:]))
    assert factor(100) == pytest.approx(0)


def test_the_scheduler_follows_the_factor() -> None:
    model = nn.Linear(2, 2)
    optimizer = make_optimizer(model, schedule(lr=0.3), fused=False)
    scheduler = make_lr_scheduler(optimizer, lambda step: 1 / (1 + step))
    rates = []
    for _ in range(3):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([0.3, 0.15, 0.1])


def schedule(**settings: Any) -> ScheduleConfig:
    return ScheduleConfig(**{"batch_size": 4, "steps": 1, "optimizer": "sgd", "decay": "none", **settings})


def group_sizes(model: nn.Module, decay_one_axis: bool) -> list[int]:
    groups: list[dict[str, Any]] = parameter_groups(model, schedule(decay_one_axis=decay_one_axis))
    return [len(group["params"]) for group in groups]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_backbone_learns_at_its_share_of_the_rate_from_warm_up_to_the_end(optimizer: str) -> None:
    model = nn.ModuleDict({"backbone": nn.Conv2d(3, 4, 3), "head": nn.Conv2d(4, 4, 3)})
    made = make_optimizer(
        model, schedule(optimizer=optimizer, lr=0.1, backbone_lr_factor=0.25, decay_one_axis=False), fused=False
    )
    scheduler = make_lr_scheduler(made, lambda step: 1 / (1 + step))
    for step in range(3):
        rates = {id(parameter): group["lr"] for group in made.param_groups for parameter in group["params"]}
        for name, parameter in model.named_parameters():
            share = 0.25 if name.startswith("backbone.") else 1.0
            assert rates[id(parameter)] == pytest.approx(0.1 * share / (1 + step)), name
        assert made.param_groups[0]["lr"] == pytest.approx(0.1 / (1 + step)), "the rate that is reported"
        made.step()
        scheduler.step()


def test_a_backbone_at_the_common_rate_has_no_groups_of_its_own() -> None:
    model = nn.ModuleDict({"backbone": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    (group,) = parameter_groups(model, schedule())
    assert [id(parameter) for parameter in model.parameters()] == [id(each) for each in group["params"]]  # type: ignore[attr-defined]


def test_norms_and_biases_are_excluded_from_weight_decay_if_configured() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4))
    model[0].weight.requires_grad_(True)
    assert group_sizes(model, decay_one_axis=False) == [1, 3]
    assert group_sizes(model, decay_one_axis=True) == [4]


def test_frozen_parameters_are_not_optimised() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    assert sum(group_sizes(model, decay_one_axis=True)) == 2


def test_the_moving_average_changes_by_one_minus_its_decay() -> None:
    model = nn.Linear(1, 1)
    average = moving_average(model, 0.75)
    average.update_parameters(model)
    start = model.weight.detach().clone()
    with torch.no_grad():
        model.weight += 4
    average.update_parameters(model)
    torch.testing.assert_close(average.module.get_parameter("weight").detach(), start + 1)


def test_the_linear_scaling_rule_holds_unless_lr_is_given() -> None:
    assert schedule(lr_per_16_images=0.01).resolved_lr == pytest.approx(0.0025)
    assert schedule(lr=0.3).resolved_lr == 0.3
