"""The sigmoid focal loss (Lin et al. 2017), its gradient written in the pass that computes the loss."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from fcos.structures import NO_OBJECT

# Logits at a time: what stays in a CPU's cache; a GPU wants few large kernels.
CPU_CHUNK = 1 << 17
GPU_CHUNK = 1 << 26


def focal_loss_sum(
    logits: Float[Tensor, "N C"],
    labels: Int[Tensor, " N"],
    alpha: float = 0.25,
    gamma: float = 2.0,
    compiled: bool = False,
) -> Float[Tensor, ""]:
    """Sum of the focal loss over N locations and C classes; NO_OBJECT is all negative.

    Compiled it is one pass over the logits; otherwise torch's operations by turns on parts that stay in a cache.
    """
    if logits.numel() == 0:
        return logits.float().sum()
    return _FocalSum.apply(logits, labels, alpha, gamma, compiled)  # type: ignore[no-any-return]


class _FocalSum(torch.autograd.Function):
    """No one-hot target, and no second read of the logits in the backward pass."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, alpha: float, gamma: float, compiled: bool) -> Tensor:
        both = _compiled() if compiled else _by_parts
        total, ctx.gradient = both(logits, labels, alpha, gamma)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None, None, None]:
        # Scaled in place and let go: the gradient is the largest tensor of a training step.
        gradient, ctx.gradient = ctx.gradient, None
        assert gradient is not None, "the focal loss keeps its gradient for one backward pass only"
        return gradient.mul_(outer[0].to(gradient.dtype)), None, None, None, None


def _by_parts(logits: Tensor, labels: Tensor, alpha: float, gamma: float) -> tuple[Tensor, Tensor]:
    """Every logit is first taken as a negative; the one logit of each positive location is then corrected."""
    rows, classes = logits.shape
    gradient = torch.empty_like(logits)
    total = logits.new_zeros((), dtype=torch.float32)
    step = max(1, (CPU_CHUNK if logits.device.type == "cpu" else GPU_CHUNK) // classes)
    for start in range(0, rows, step):
        part = slice(start, start + step)
        weight, log_complement, inner = _factors(logits[part].float(), alpha, gamma)
        total -= torch.dot(weight.flatten(), log_complement.flatten())
        torch.mul(weight, inner, out=gradient[part])
    index = labels.clamp(min=0)[:, None]
    positive = labels[:, None] != NO_OBJECT
    own = logits.gather(1, index).float()
    weight, log_complement, inner = _factors(own, alpha, gamma)
    # A positive is a negative of the mirrored logit, with the other weight.
    positive_weight, log_probability, positive_inner = _factors(-own, 1 - alpha, gamma)
    correction = weight * log_complement - positive_weight * log_probability
    total += correction.where(positive, 0.0).sum()
    slope = torch.where(positive, -positive_weight * positive_inner, weight * inner)
    return total, gradient.scatter_(1, index, slope.to(gradient.dtype))


def _factors(logits: Tensor, alpha: float, gamma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Of logits whose target is 0: weight and log(1 - p), whose product is minus the loss, and slope / weight."""
    probability = logits.sigmoid()
    log_complement = F.logsigmoid(-logits)
    weight = probability.pow(gamma).mul_(1 - alpha)
    return weight, log_complement, torch.addcmul(probability, probability - 1, log_complement, value=gamma)


def _in_one_pass(logits: Tensor, labels: Tensor, alpha: float, gamma: float) -> tuple[Tensor, Tensor]:
    """Written so that a compiler makes one loop of it: one exponential for each logit."""
    own = labels[:, None] == torch.arange(logits.shape[1], device=logits.device)
    # A positive is a negative of the mirrored logit, with the other weight.
    x = torch.where(own, -logits.float(), logits.float())
    small = torch.exp(-x.abs())
    cross_entropy = x.clamp(min=0) + _log1p(small)
    larger = 1 / (1 + small)
    probability = torch.where(x >= 0, larger, small * larger)
    weight = torch.where(own, alpha, 1 - alpha) * probability.pow(gamma)
    slope = weight * (gamma * (1 - probability) * cross_entropy + probability)
    # By rows first: their sums belong to the loop that writes the gradient.
    return (weight * cross_entropy).sum(1).sum(), torch.where(own, -slope, slope).to(logits.dtype)


def _log1p(x: Tensor) -> Tensor:
    """log(1 + x) for x in 0..1 as 2 artanh(x / (2 + x)), to float32's precision; on a CPU quicker than log1p."""
    y = x / (2 + x)
    square = y * y
    series = torch.full_like(y, 1 / 13)
    for odd in (11, 9, 7, 5, 3, 1):
        series = series * square + 1 / odd
    return 2 * y * series


@lru_cache(maxsize=1)
def _compiled() -> Callable[..., tuple[Tensor, Tensor]]:
    # Each of few shapes has a loop of its own; one for any shape would not be vectorised as well.
    return torch.compile(_in_one_pass, dynamic=False)
