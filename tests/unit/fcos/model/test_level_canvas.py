"""Levels on one map: where they lie, what convolutions, norms and heads give there, and when they are laid so."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from fcos.config.model_parts import HeadConfig
from fcos.model import head as head_module
from fcos.model.head import Head
from fcos.model.level_canvas import MOST_VALUES, Canvas, canvas_of, group_norm_relu, joins, lay, take
from fcos.structures import HeadOutputs
from tests.helpers.present import present

SHAPES = ((6, 9), (3, 5), (2, 3), (1, 2))
SIDES = st.integers(1, 9)


def levels_of(
    shapes: Sequence[tuple[int, int]] = SHAPES, dtype: torch.dtype = torch.float64, channels: int = 8
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, channels, *shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


@given(shapes=st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=5))
def test_levels_lie_apart_by_a_row_or_column(shapes: list[tuple[int, int]]) -> None:
    canvas = canvas_of(tuple(shapes))
    owners = torch.full((canvas.height + 2, canvas.width + 2), -1)
    for number, (top, left, rows, columns) in enumerate(canvas.slots):
        assert (rows, columns) == shapes[number]
        around = owners[top : top + rows + 2, left : left + columns + 2]
        assert (around == -1).all(), "another level within the reach of a 3x3 convolution"
        owners[top + 1 : top + rows + 1, left + 1 : left + columns + 1] = number
    assert (owners >= 0).sum() == sum(rows * columns for rows, columns in shapes)
    assert (owners[[0, -1]] == -1).all() and (owners[:, [0, -1]] == -1).all()


@given(shapes=st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=5))
def test_what_is_laid_is_taken_again(shapes: list[tuple[int, int]]) -> None:
    levels, canvas = levels_of(shapes), canvas_of(tuple(shapes))
    whole = lay(levels, canvas)
    assert whole.is_contiguous(memory_format=torch.channels_last)
    for level, again in zip(levels, take(whole, canvas), strict=True):
        torch.testing.assert_close(again, level, rtol=0, atol=0)
    assert whole.count_nonzero() == sum(level.count_nonzero() for level in levels)


def test_convolution_norm_and_relu_are_those_of_each_level() -> None:
    canvas, conv = canvas_of(SHAPES), nn.Conv2d(8, 8, 3, padding=1).double()
    norm = nn.GroupNorm(4, 8).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    apart, together = levels_of(), levels_of()
    outer = levels_of()
    expected = [torch.relu(norm(conv(level))) for level in apart]
    whole = group_norm_relu(conv(lay(together, canvas)), norm.weight, norm.bias, 4, norm.eps, canvas)
    assert whole.count_nonzero() == sum(level.count_nonzero() for level in expected), "not zero between the levels"
    parameters = [*conv.parameters(), *norm.parameters()]
    gradients = []
    for inputs, outputs in ((apart, expected), (together, take(whole, canvas))):
        for ours, theirs in zip(outputs, expected, strict=True):
            torch.testing.assert_close(ours, theirs)
        gradients.append(torch.autograd.grad(outputs, [*inputs, *parameters], [x.detach() for x in outer]))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_gradients_are_those_of_small_differences() -> None:
    shapes = ((3, 4), (1, 2))
    canvas = canvas_of(shapes)
    weight, bias = (torch.rand(4, dtype=torch.float64, requires_grad=True) for _ in range(2))

    def run(weight: Tensor, bias: Tensor, *levels: Tensor) -> tuple[Tensor, ...]:
        return take(group_norm_relu(lay(levels, canvas), weight, bias, 2, 1e-5, canvas), canvas)

    assert torch.autograd.gradcheck(run, (weight, bias, *levels_of(shapes, channels=4)))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"dtype": torch.float32}, False),
        ({"shapes": SHAPES[:1]}, False),
        ({"shapes": ((1, MOST_VALUES // 8), (1, 1))}, True),
        ({"shapes": ((1, MOST_VALUES // 8 + 1), (1, 1))}, False),
    ],
)
def test_small_levels_in_bf16_are_joined(changes: dict[str, Any], expected: bool) -> None:
    assert joins(levels_of(**{"dtype": torch.bfloat16, **changes})) == expected


SETTINGS = [
    {},
    {"towers": "shared"},
    {"quality": "none"},
    {"quality_branch": "own"},
    {"quality_branch": "classification", "conv_bias": False},
    {"num_convs": 0},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_head_under_autocast_gives_the_same_joined(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    config = HeadConfig(**{"num_convs": 2, "gn_groups": 4, **settings})
    head = Head(8, 3, config, strides=(8, 16, 32, 64), targets_per_location=2)
    laid: list[Canvas] = []

    def counted(levels: Sequence[Tensor], canvas: Canvas) -> Tensor:
        laid.append(canvas)
        return lay(levels, canvas)

    monkeypatch.setattr(head_module, "lay", counted)
    joined, of_joined = outputs_and_gradients(head)
    assert laid
    monkeypatch.setattr(head_module, "joins", lambda _: False)
    apart, of_apart = outputs_and_gradients(head)
    assert joined.shapes == apart.shapes
    for ours, theirs in zip(values_of(joined), values_of(apart), strict=True):
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=2e-2)
    for ours, theirs in zip(of_joined, of_apart, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - theirs).norm() <= 2e-2 * theirs.norm()


@pytest.mark.parametrize("norm", ["bn", "bn_per_level", "none"])
def test_levels_of_other_norms_stay_apart(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    head = Head(8, 3, HeadConfig(norm=norm, num_convs=1), strides=(8, 16, 32, 64))
    monkeypatch.setattr(head_module, "lay", None)
    outputs_and_gradients(head)


def outputs_and_gradients(head: Head) -> tuple[HeadOutputs, tuple[Tensor, ...]]:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = head(levels_of(dtype=torch.bfloat16))
    total = torch.stack([value.float().square().sum() for value in values_of(outputs)]).sum()
    return outputs, torch.autograd.grad(total, list(head.parameters()), allow_unused=True, materialize_grads=True)


def values_of(outputs: HeadOutputs) -> list[Tensor]:
    quality = [] if outputs.quality is None else [present(outputs.quality)]
    return [*outputs.logits, outputs.ltrb, *quality]
