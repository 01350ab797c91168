"""The sigmoid focal loss (Lin et al. 2017), its gradient written in the pass that computes the loss."""

from collections.abc import Callable, Sequence
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
    logits: Sequence[Float[Tensor, "B _ C"]],
    labels: Int[Tensor, "B P"],
    alpha: float = 0.25,
    gamma: float = 2.0,
    compiled: bool = False,
) -> Float[Tensor, ""]:
    """Sum of the focal loss over the P locations of all levels and C classes; NO_OBJECT is all negative.

    Compiled it is one pass over the logits; otherwise torch's operations by turns on parts that stay in a cache.
    """
    return _FocalSum.apply(labels, alpha, gamma, compiled, *logits)  # type: ignore[no-any-return]


class _FocalSum(torch.autograd.Function):
    """No one-hot target, and no second read of the logits in the backward pass."""

    @staticmethod
    def forward(ctx: Any, labels: Tensor, alpha: float, gamma: float, compiled: bool, *levels: Tensor) -> Tensor:
        both = _compiled() if compiled else _by_parts
        total, ctx.gradients = both([_dense(logits) for logits in levels], labels, alpha, gamma)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        # Scaled in place and let go: the gradient is the largest tensor of a training step.
        gradients, ctx.gradients = ctx.gradients, None
        assert gradients is not None, "the focal loss keeps its gradient for one backward pass only"
        scaled = (gradient.mul_(outer[0].to(gradient.dtype)) for gradient in gradients)
        return None, None, None, None, *scaled


def _dense(logits: Float[Tensor, "B N C"]) -> Float[Tensor, "B N C"]:
    """A view of a convolution's output, in channels_last or not, as it is; anything with gaps without them."""
    return logits if logits.mT.is_contiguous() else logits.contiguous()


def _parts(logits: Float[Tensor, "B N C"]) -> tuple[Tensor, ...]:
    """Views of the parts of a dense tensor, in its order in memory."""
    in_order = logits if logits.is_contiguous() else logits.mT
    parts: tuple[Tensor, ...] = in_order.view(-1).split(CPU_CHUNK if logits.device.type == "cpu" else GPU_CHUNK)
    return parts


def _by_parts(levels: list[Tensor], labels: Tensor, alpha: float, gamma: float) -> tuple[Tensor, list[Tensor]]:
    """Every logit is first taken as a negative; the one logit of each positive location is then corrected."""
    gradients = [torch.empty_like(logits) for logits in levels]
    total = torch.zeros((), device=labels.device)
    for logits, gradient in zip(levels, gradients, strict=True):
        for part, gradient_part in zip(_parts(logits), _parts(gradient), strict=True):
            weight, log_complement, inner = _factors(part.float(), alpha, gamma)
            total -= torch.dot(weight, log_complement)
            torch.mul(weight, inner, out=gradient_part)
    index = labels.clamp(min=0)[..., None]
    correction, slope = _correction(levels, index, labels, alpha, gamma)
    total += correction.sum()
    slope = slope.to(gradients[0].dtype)
    counts = [logits.shape[1] for logits in levels]
    for gradient, at, own_slope in zip(gradients, index.split(counts, 1), slope.split(counts, 1), strict=True):
        gradient.scatter_(2, at, own_slope)
    return total, gradients


def _correction(
    levels: Sequence[Tensor], index: Tensor, labels: Tensor, alpha: float, gamma: float
) -> tuple[Tensor, Tensor]:
    """How much more the one logit of each positive location costs than as a negative, and its slope as it is."""
    counts = [logits.shape[1] for logits in levels]
    own_of_levels = [logits.gather(2, at) for logits, at in zip(levels, index.split(counts, dim=1), strict=True)]
    own = torch.cat(own_of_levels, dim=1).float()
    weight, log_complement, inner = _factors(own, alpha, gamma)
    # A positive is a negative of the mirrored logit, with the other weight.
    positive_weight, log_probability, positive_inner = _factors(-own, 1 - alpha, gamma)
    positive = labels[..., None] != NO_OBJECT
    correction = weight * log_complement - positive_weight * log_probability
    slope = torch.where(positive, -positive_weight * positive_inner, weight * inner)
    return correction.where(positive, 0.0), slope


@torch.no_grad()
def cost_of_label(
    logits: Sequence[Float[Tensor, "B _ C"]], labels: Int[Tensor, "B P"], alpha: float, gamma: float
) -> Float[Tensor, "B P"]:
    """How much more each location's focal loss is with its label than with no object, for which it is 0."""
    return _correction(logits, labels.clamp(min=0)[..., None], labels, alpha, gamma)[0].squeeze(-1)


def _factors(logits: Tensor, alpha: float, gamma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Of logits whose target is 0: weight and log(1 - p), whose product is minus the loss, and slope / weight."""
    probability = logits.sigmoid()
    log_complement = F.logsigmoid(-logits)
    weight = probability.pow(gamma).mul_(1 - alpha)
    return weight, log_complement, torch.addcmul(probability, probability - 1, log_complement, value=gamma)


def _in_one_pass(levels: list[Tensor], labels: Tensor, alpha: float, gamma: float) -> tuple[Tensor, list[Tensor]]:
    """All levels in one graph, a loop for each."""
    counts = [logits.shape[1] for logits in levels]
    pairs = [_level(*both, alpha, gamma) for both in zip(levels, labels.split(counts, dim=1), strict=True)]
    return torch.stack([total for total, _ in pairs]).sum(), [gradient for _, gradient in pairs]


def _level(logits: Tensor, labels: Tensor, alpha: float, gamma: float) -> tuple[Tensor, Tensor]:
    """Written so that a compiler makes one loop of it: one exponential for each logit."""
    own = labels[..., None] == torch.arange(logits.shape[-1], device=logits.device)
    # A positive is a negative of the mirrored logit, with the other weight.
    x = torch.where(own, -logits.float(), logits.float())
    small = torch.exp(-x.abs())
    cross_entropy = x.clamp(min=0) + _log1p(small)
    larger = 1 / (1 + small)
    probability = torch.where(x >= 0, larger, small * larger)
    weight = torch.where(own, alpha, 1 - alpha) * probability.pow(gamma)
    slope = weight * (gamma * (1 - probability) * cross_entropy + probability)
    # By rows first: their sums belong to the loop that writes the gradient.
    return (weight * cross_entropy).sum(-1).sum(), torch.where(own, -slope, slope).to(logits.dtype)


def _log1p(x: Tensor) -> Tensor:
    """log(1 + x) for x in 0..1 as 2 artanh(x / (2 + x)), to float32's precision; on a CPU quicker than log1p."""
    y = x / (2 + x)
    square = y * y
    series = torch.full_like(y, 1 / 13)
    for odd in (11, 9, 7, 5, 3, 1):
        series = series * square + 1 / odd
    return 2 * y * series


@lru_cache(maxsize=1)
def _compiled() -> Callable[..., tuple[Tensor, list[Tensor]]]:
    # Each of few shapes has a loop of its own; one for any shape would not be vectorised as well.
    return torch.compile(_in_one_pass, dynamic=False)
