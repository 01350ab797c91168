"""The sigmoid focal loss (Lin et al. 2017), with its gradient computed in the forward pass."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from fcos.structures import NO_OBJECT

# Logits processed at a time: as many as stay in a CPU's cache; a GPU is faster with few large kernels.
CPU_CHUNK_SIZE = 1 << 17
GPU_CHUNK_SIZE = 1 << 26


def focal_loss_sum(
    logits: Sequence[Float[Tensor, "B _ C"]],
    labels: Int[Tensor, "B P"],
    alpha: float = 0.25,
    gamma: float = 2.0,
    compiled: bool = False,
) -> Float[Tensor, ""]:
    """Sum the focal loss over the P locations of all levels and C classes.

    NO_OBJECT is negative for every class. `compiled` uses one compiled pass over the logits, otherwise torch operations
    run on chunks that stay in a cache.
    """
    return _FocalSum.apply(labels, alpha, gamma, compiled, *logits)  # type: ignore[no-any-return]


class _FocalSum(torch.autograd.Function):
    """Autograd function without a one-hot target or a second read of the logits in the backward pass."""

    @staticmethod
    def forward(ctx: Any, labels: Tensor, alpha: float, gamma: float, compiled: bool, *levels: Tensor) -> Tensor:
        compute = _compiled() if compiled else _by_chunks
        total, ctx.gradients = compute([_dense(logits) for logits in levels], labels, alpha, gamma)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        # Scaled in place and released: the gradient is the largest tensor of a training step.
        gradients, ctx.gradients = ctx.gradients, None
        assert gradients is not None, "the focal loss keeps its gradient for one backward pass only"
        scaled = (gradient.mul_(outer[0].to(gradient.dtype)) for gradient in gradients)
        return None, None, None, None, *scaled


def _dense(logits: Float[Tensor, "B N C"]) -> Float[Tensor, "B N C"]:
    """Return a convolution's output (contiguous or channels_last) as it is, a tensor with gaps as a contiguous copy."""
    return logits if logits.mT.is_contiguous() else logits.contiguous()


def _chunks(logits: Float[Tensor, "B N C"]) -> tuple[Tensor, ...]:
    """Return views of the chunks of a dense tensor, in memory order."""
    flat_order = logits if logits.is_contiguous() else logits.mT
    chunks: tuple[Tensor, ...] = flat_order.view(-1).split(
        CPU_CHUNK_SIZE if logits.device.type == "cpu" else GPU_CHUNK_SIZE
    )
    return chunks


def _by_chunks(levels: list[Tensor], labels: Tensor, alpha: float, gamma: float) -> tuple[Tensor, list[Tensor]]:
    """Compute loss and gradients in chunks.

    Every logit is first taken as a negative; the target logit of each positive location is then corrected.
    """
    gradients = [torch.empty_like(logits) for logits in levels]
    total = torch.zeros((), device=labels.device)
    for logits, gradient in zip(levels, gradients, strict=True):
        for chunk, gradient_chunk in zip(_chunks(logits), _chunks(gradient), strict=True):
            weight, log_complement, inner = _factors(chunk.float(), alpha, gamma)
            total -= torch.dot(weight, log_complement)
            torch.mul(weight, inner, out=gradient_chunk)
    index = labels.clamp(min=0)[..., None]
    correction, slope = _correction(levels, index, labels, alpha, gamma)
    total += correction.sum()
    slope = slope.to(gradients[0].dtype)
    counts = [logits.shape[1] for logits in levels]
    for gradient, level_index, target_slope in zip(
        gradients, index.split(counts, 1), slope.split(counts, 1), strict=True
    ):
        gradient.scatter_(2, level_index, target_slope)
    return total, gradients


def _correction(
    levels: Sequence[Tensor], index: Tensor, labels: Tensor, alpha: float, gamma: float
) -> tuple[Tensor, Tensor]:
    """Return by how much each target logit's loss exceeds its loss as a negative, and its gradient."""
    counts = [logits.shape[1] for logits in levels]
    target_logits_per_level = [
        logits.gather(2, level_index) for logits, level_index in zip(levels, index.split(counts, dim=1), strict=True)
    ]
    target_logits = torch.cat(target_logits_per_level, dim=1).float()
    weight, log_complement, inner = _factors(target_logits, alpha, gamma)
    # A positive is a negative with the sign of the logit flipped and the weight 1 - alpha replaced by alpha.
    positive_weight, log_probability, positive_inner = _factors(-target_logits, 1 - alpha, gamma)
    positive = labels[..., None] != NO_OBJECT
    correction = weight * log_complement - positive_weight * log_probability
    slope = torch.where(positive, -positive_weight * positive_inner, weight * inner)
    return correction.where(positive, 0.0), slope


@torch.no_grad()
def label_costs(
    logits: Sequence[Float[Tensor, "B _ C"]], labels: Int[Tensor, "B P"], alpha: float, gamma: float
) -> Float[Tensor, "B P"]:
    """Return by how much each location's label raises its focal loss over that of NO_OBJECT."""
    return _correction(logits, labels.clamp(min=0)[..., None], labels, alpha, gamma)[0].squeeze(-1)


def _factors(logits: Tensor, alpha: float, gamma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return, for logits of target 0: weight, log(1 - p), and slope / weight.

    The loss is -weight * log(1 - p).
    """
    probability = logits.sigmoid()
    log_complement = F.logsigmoid(-logits)
    weight = probability.pow(gamma).mul_(1 - alpha)
    return weight, log_complement, torch.addcmul(probability, probability - 1, log_complement, value=gamma)


def _all_levels(levels: list[Tensor], labels: Tensor, alpha: float, gamma: float) -> tuple[Tensor, list[Tensor]]:
    """Compute loss and gradients of all levels in one graph, a loop per level."""
    counts = [logits.shape[1] for logits in levels]
    pairs = [_level_loss(*compute, alpha, gamma) for compute in zip(levels, labels.split(counts, dim=1), strict=True)]
    return torch.stack([total for total, _ in pairs]).sum(), [gradient for _, gradient in pairs]


def _level_loss(logits: Tensor, labels: Tensor, alpha: float, gamma: float) -> tuple[Tensor, Tensor]:
    """Compute loss and gradient of one level.

    Written so that a compiler fuses it into one loop with one exponential per logit.
    """
    is_target = labels[..., None] == torch.arange(logits.shape[-1], device=logits.device)
    # A positive is a negative with the sign of the logit flipped and the weight 1 - alpha replaced by alpha.
    x = torch.where(is_target, -logits.float(), logits.float())
    exp_negative = torch.exp(-x.abs())
    cross_entropy = x.clamp(min=0) + _log1p(exp_negative)
    larger_probability = 1 / (1 + exp_negative)
    probability = torch.where(x >= 0, larger_probability, exp_negative * larger_probability)
    weight = torch.where(is_target, alpha, 1 - alpha) * probability.pow(gamma)
    slope = weight * (gamma * (1 - probability) * cross_entropy + probability)
    # Summed by rows first, so that the row sums fuse into the loop that writes the gradient.
    return (weight * cross_entropy).sum(-1).sum(), torch.where(is_target, -slope, slope).to(logits.dtype)


def _log1p(x: Tensor) -> Tensor:
    """Compute log(1 + x) for x in 0..1 as 2 artanh(x / (2 + x)), to float32 precision.

    This is faster than log1p on a CPU.
    """
    y = x / (2 + x)
    square = y * y
    series = torch.full_like(y, 1 / 13)
    for odd in (11, 9, 7, 5, 3, 1):
        series = series * square + 1 / odd
    return 2 * y * series


@lru_cache(maxsize=1)
def _compiled() -> Callable[..., tuple[Tensor, list[Tensor]]]:
    # Compiled per shape, of which there are few; dynamic shapes would not be vectorised as well.
    return torch.compile(_all_levels, dynamic=False)
