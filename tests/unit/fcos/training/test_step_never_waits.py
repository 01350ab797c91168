"""A training step neither reads values back from the device nor has shapes that depend on values."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fcos.build import build_detector, build_train_state
from fcos.config.choices import LevelRule, NormalizerScope, Precision, RegressionLoss, TieBreak
from fcos.config.parse import parse, set_value
from fcos.config.run import Config
from fcos.runtime import LocalRuntime
from fcos.training.step import train_step
from tests.helpers.detections.random_batches import random_batch

# Operators that make the host wait for a GPU: .item() and bool(), boolean indexing, nonzero and similar ones.
WAITING = (
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "unique",
    "repeat_interleave.Tensor",
    "bincount",
)


class RefuseWaiting(TorchDispatchMode):
    """Raises an AssertionError for operations that would wait."""

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(operation)
        if any(waiting in name for waiting in WAITING):
            raise AssertionError(f"{name} waits for the device")
        if "aten.index" in name and len(args) > 1 and isinstance(args[1], (list, tuple)):
            assert not any(index is not None and index.dtype == torch.bool for index in args[1]), f"{name} by a mask"
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("regression", get_args(RegressionLoss))
@pytest.mark.parametrize("quality", ["none", "centerness", "iou"])
def test_a_step_never_waits_with_any_loss_or_optimizer(
    tiny_values, optimizer: str, regression: str, quality: str
) -> None:
    run_step(tiny_values, {"model.loss.regression": regression, "model.head.quality": quality,
                       "model.postprocess.quality": "none", "schedule.optimizer": optimizer})  # fmt: skip


@pytest.mark.parametrize("radius", [None, 1.5])
@pytest.mark.parametrize("precision", get_args(Precision))
def test_a_step_never_waits_with_any_radius_or_precision(tiny_values, radius: float | None, precision: str) -> None:
    run_step(tiny_values, {"model.assignment.center_sampling_radius": radius, "schedule.precision": precision,
                       "model.backbone.norm": "frozen_bn"})  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        *({"model.assignment.level_rule": rule} for rule in get_args(LevelRule)),
        *({"model.assignment.tie_break": rule} for rule in get_args(TieBreak)),
        {"model.assignment.positives": "mask"},
        *({"model.loss.normalizer": scope} for scope in get_args(NormalizerScope)),
        {"model.loss.quality_loss": "l1", "model.head.quality_branch": "own"},
        {"model.head.across_levels": "separate"},
        *({"model.targets_per_location": 2, "model.assignment.tie_break": rule} for rule in get_args(TieBreak)),
        {"model.targets_per_location": 2, "model.head.quality": "iou", "schedule.precision": "bf16"},
        {"model.head.towers": "shared", "schedule.precision": "fp16", "schedule.clip_norm": None},
    ],
)
def test_a_step_never_waits_with_any_rule_loss_or_head(tiny_values, changes: dict[str, Any]) -> None:
    run_step(tiny_values, {**changes, "model.assignment.center_sampling_radius": None})


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("atss", {}),
        ("center", {}),
        ("simota", {}),
        ("retinanet", {"model.head.regression": "deltas"}),
        ("retinanet", {"model.head.regression": "deltas", "model.anchors_per_location": 9}),
    ],
)
def test_a_step_never_waits_with_any_assignment(tiny_values, kind: str, changes: dict[str, Any]) -> None:
    run_step(tiny_values, {"model.assignment.kind": kind, **changes}, batches=1 if kind == "simota" else 2)


def run_step(values: dict[str, Any], changes: dict[str, Any], batches: int = 2) -> None:
    for key, value in changes.items():
        values = set_value(values, key, value)
    config = parse(Config, values)
    torch.manual_seed(0)
    state = build_train_state(
        config, build_detector(config.model, 5, channels_last=True), LocalRuntime(Path(), torch.device("cpu"))
    )
    with RefuseWaiting():
        # Torch's optimizers (and its moving average) read their step counters, which live on the host.
        state.optimizer.step = lambda: None  # type: ignore[assignment]
        by_masks = config.model.assignment.by_masks
        micro_batches = [random_batch(8, 1, with_masks=by_masks), random_batch(3, 0, with_masks=by_masks)]
        train_step(state, micro_batches[:batches])


@pytest.mark.parametrize("wait", [lambda x: x.sum().item(), lambda x: x[x > 0], lambda x: x.nonzero()])
def test_waiting_operations_are_refused(wait: Callable[[torch.Tensor], Any]) -> None:
    with RefuseWaiting(), pytest.raises(AssertionError, match=r"waits|mask"):
        wait(torch.ones(3))
