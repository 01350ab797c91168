"""A step in bf16 keeps weights, gradients, averages and losses in float32, and is nearly that of float32."""

from pathlib import Path
from typing import Any

import pytest
import torch

from fcos import device as device_module
from fcos.build import build_detector, build_train_state
from fcos.config.choices import Precision
from fcos.config.parse import parse, set_value
from fcos.config.run import Config
from fcos.device import precision_notes
from fcos.runtime import LocalRuntime
from fcos.structures import Batch, Targets
from fcos.training.step import TrainState, train_step
from tests.helpers.detections.random_batches import random_batch

CPU = torch.device("cpu")


def state_of(values: dict[str, Any], precision: str, **changes: Any) -> TrainState:
    for key, value in {"schedule.precision": precision, **changes}.items():
        values = set_value(values, key.replace("__", "."), value)
    config = parse(Config, values)
    torch.manual_seed(0)
    detector = build_detector(config.model, 5, channels_last=config.schedule.channels_last)
    return build_train_state(config, detector, LocalRuntime(Path(), CPU))


def test_weights_gradients_averages_and_losses_are_float32(tiny_values: dict[str, Any]) -> None:
    state = state_of(tiny_values, "bf16", schedule__ema=0.9)
    terms = train_step(state, [random_batch(3, 0)])
    assert terms.dtype == torch.float32
    for parameter in state.detector.parameters():
        assert parameter.dtype == torch.float32 and parameter.grad is not None and parameter.grad.dtype == torch.float32
    kept = [*state.averages[0.9].module.state_dict().values(), *state.detector.state_dict().values()]
    moments = [value for entry in state.optimizer.state_dict()["state"].values() for value in entry.values()]
    assert {value.dtype for value in (*kept, *moments) if value.is_floating_point()} == {torch.float32}


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("counts", [(3, 1, 0, 5), (0, 0, 0, 0)])
def test_losses_are_nearly_those_of_float32(
    tiny_values: dict[str, Any], counts: tuple[int, ...], channels_last: bool
) -> None:
    full, half = (
        train_step(state_of(tiny_values, precision, schedule__channels_last=channels_last), [random_batch(*counts)])
        for precision in ("fp32", "bf16")
    )
    torch.testing.assert_close(half, full, rtol=2e-2, atol=2e-2)
    assert not torch.equal(half, full)


def test_micro_batches_make_the_step_of_the_whole_batch(tiny_values: dict[str, Any]) -> None:
    # Statistics of batch norms are those of a micro-batch.
    whole, parts = (state_of(tiny_values, "bf16", model__backbone__norm="frozen_bn") for _ in range(2))
    train_step(whole, [random_batch(3, 1, 0, 5)])
    batch = random_batch(3, 1, 0, 5)
    train_step(parts, [_rows(batch, slice(0, 2)), _rows(batch, slice(2, 4))])
    for ours, theirs in zip(parts.detector.parameters(), whole.detector.parameters(), strict=True):
        assert ours.grad is not None and theirs.grad is not None
        assert (ours.grad - theirs.grad).norm() <= 2e-2 * theirs.grad.norm() + 1e-6


def _rows(batch: Batch, rows: slice) -> Batch:
    targets = Targets(batch.targets.boxes[rows], batch.targets.labels[rows], batch.targets.valid[rows])
    return Batch(
        batch.pixels[rows], batch.sizes[rows], batch.original_sizes[rows], targets,
        batch.image_ids[rows], batch.names[rows],
    )  # fmt: skip


def test_a_precision_without_instructions_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "_has_instructions", lambda precision: precision == "bf16")
    assert precision_notes(CPU, "fp32") == precision_notes(CPU, "bf16") == ()
    assert precision_notes(torch.device("cuda"), "fp16") == ()
    (note,) = precision_notes(CPU, "fp16")
    assert note.startswith("schedule.precision=fp16: this processor has no instructions for it")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_torch_knows_what_the_processor_computes(precision: Precision) -> None:
    assert isinstance(device_module._has_instructions(precision), bool)
