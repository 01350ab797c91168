"""All levels of a pyramid on one map, so that a small head runs once and not once for each level."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor

# Values of the finest level of an image up to which one call for all levels is faster than the fewer locations of a
# call for each: 32 channels of 32x32.
MOST_VALUES: Final = 1 << 15


@dataclass(frozen=True)
class Canvas:
    """Where levels lie on a map: the finest one at the top, the others side by side below it.

    Between two levels there is one row or column of zeros, which is the padding of a 3x3 convolution.
    """

    height: int
    width: int
    # (top, left, rows, columns) of each level, finest first.
    slots: tuple[tuple[int, int, int, int], ...]

    def parts(self, x: Tensor) -> list[Float[Tensor, "B C h w"]]:
        """Return the views of the levels on a map."""
        return [x[:, :, top : top + rows, left : left + columns] for top, left, rows, columns in self.slots]


@lru_cache(maxsize=64)
def canvas_of(shapes: tuple[tuple[int, int], ...]) -> Canvas:
    """Return the canvas of levels with these (rows, columns), finest first."""
    (height, width), *others = shapes
    slots, left = [(0, 0, height, width)], 0
    for rows, columns in others:
        slots.append((height + 1, left, rows, columns))
        left += columns + 1
    below = max((rows + 1 for rows, _ in others), default=0)
    return Canvas(height + below, max(width, left - 1), tuple(slots))


def joins(features: Sequence[Float[Tensor, "B C _ _"]]) -> bool:
    """Return whether the levels are better laid on one map: small ones, under bf16 autocast on a CPU.

    What a head computes is the same but for the order of sums, which bf16 training is free to choose.
    """
    finest = features[0]
    return (
        len(features) > 1
        and finest.dtype == torch.bfloat16
        and finest.device.type == "cpu"
        and finest[0].numel() <= MOST_VALUES
        and not torch.compiler.is_compiling()
    )


def lay(features: Sequence[Float[Tensor, "B C _ _"]], canvas: Canvas) -> Float[Tensor, "B C h w"]:
    """Lay the levels on a map with the channels last."""
    result: Tensor = _Lay.apply(canvas, *features)
    return result


def take(x: Float[Tensor, "B KC h w"], canvas: Canvas) -> tuple[Float[Tensor, "B KC _ _"], ...]:
    """Return a copy of each level on a map, with the channels last."""
    levels: tuple[Tensor, ...] = _Take.apply(x, canvas)
    return levels


def group_norm_relu(
    x: Float[Tensor, "B C h w"],
    weight: Float[Tensor, " C"],
    bias: Float[Tensor, " C"],
    groups: int,
    eps: float,
    canvas: Canvas,
) -> Float[Tensor, "B C h w"]:
    """Return group norm and ReLU of a map, with the statistics of each level for itself; zero between the levels."""
    result: Tensor = _GroupNormReLU.apply(x, weight, bias, groups, eps, canvas)
    return result


def _zeros(like: Float[Tensor, "B C _ _"], canvas: Canvas) -> Float[Tensor, "B C h w"]:
    return like.new_zeros(like.shape[0], canvas.height, canvas.width, like.shape[1]).permute(0, 3, 1, 2)


def _fill(levels: Sequence[Tensor], canvas: Canvas) -> Tensor:
    """Return a map of zeros with the levels in their slots."""
    whole = _zeros(levels[0], canvas)
    for part, level in zip(canvas.parts(whole), levels, strict=True):
        part.copy_(level)
    return whole


def _copies(x: Tensor, canvas: Canvas) -> tuple[Tensor, ...]:
    return tuple(part.contiguous(memory_format=torch.channels_last) for part in canvas.parts(x))


class _Lay(torch.autograd.Function):
    """Levels to map, and in the backward pass map to levels."""

    @staticmethod
    def forward(ctx: Any, canvas: Canvas, *levels: Tensor) -> Tensor:
        ctx.canvas = canvas
        return _fill(levels, canvas)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return None, *_copies(gradients[0], ctx.canvas)


class _Take(torch.autograd.Function):
    """Map to levels, and in the backward pass levels to map."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, canvas: Canvas) -> tuple[Tensor, ...]:
        ctx.canvas = canvas
        return _copies(x, canvas)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return _fill(gradients, ctx.canvas), None


class _GroupNormReLU(torch.autograd.Function):
    """Group norm level by level, with the rows innermost: torch's kernel for the channels last is 15 times as slow."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, canvas: Canvas) -> Tensor:
        ctx.groups, ctx.canvas = groups, canvas
        inputs = [part.contiguous() for part in canvas.parts(x)]
        saved: list[Tensor] = []
        outputs = []
        for level in inputs:
            batch, channels, rows, columns = level.shape
            output, mean, rstd = torch.native_group_norm(
                level, weight, bias, batch, channels, rows * columns, groups, eps
            )
            outputs.append(output.relu_())
            saved += [level, output, mean, rstd]
        ctx.save_for_backward(weight, *saved)
        return _fill(outputs, canvas)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        weight, *saved = ctx.saved_tensors
        inner: list[Tensor] = []
        of_weight, of_bias = torch.zeros_like(weight), torch.zeros_like(weight)
        for number, part in enumerate(ctx.canvas.parts(gradients[0])):
            level, output, mean, rstd = saved[4 * number : 4 * number + 4]
            batch, channels, rows, columns = level.shape
            outer = torch.ops.aten.threshold_backward(part.contiguous(), output, 0)
            of_level, level_weight, level_bias = torch.ops.aten.native_group_norm_backward(
                outer, level, mean, rstd, weight, batch, channels, rows * columns, ctx.groups, [True, True, True]
            )
            inner.append(of_level)
            of_weight += level_weight
            of_bias += level_bias
        return _fill(inner, ctx.canvas), of_weight, of_bias, None, None, None
