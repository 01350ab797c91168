"""Optimizer, learning rate schedule, and the moving average of the weights."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from math import cos, pi

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fcos.config.choices import Decay, Optimizer, Warmup


def parameter_groups(model: nn.Module, weight_decay: float, decay_one_axis: bool) -> list[dict[str, object]]:
    """Return the trainable parameters in two groups: with weight decay, and without.

    Parameters of one axis (norms and biases) are decayed only with `decay_one_axis`.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in trainable if decay_one_axis or parameter.ndim > 1]
    undecayed = [parameter for parameter in trainable if not decay_one_axis and parameter.ndim <= 1]
    groups: list[dict[str, object]] = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": undecayed, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def make_optimizer(
    model: nn.Module,
    *,
    kind: Optimizer,
    lr: float,
    momentum: float,
    weight_decay: float,
    decay_one_axis: bool,
    fused: bool,
) -> torch.optim.Optimizer:
    """Build SGD with momentum or AdamW; `fused` runs one kernel per group (CPU and CUDA)."""
    groups = parameter_groups(model, weight_decay, decay_one_axis)
    if kind == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=momentum, fused=fused)
    return torch.optim.AdamW(groups, lr=lr, fused=fused)


def lr_factor(
    *,
    steps: int,
    warmup: Warmup,
    warmup_steps: int,
    warmup_factor: float,
    decay: Decay,
    milestones: Sequence[int],
    decay_factor: float,
) -> Callable[[int], float]:
    """Return the function from a step, counted from 0, to the factor of the learning rate.

    Warm-up is linear from `warmup_factor`, or constant at it (the papers' code: constant, 1/3, 500 steps). decay=step
    follows the papers' milestones, cosine falls to zero at the end of the run.
    """

    def factor(step: int) -> float:
        if step < warmup_steps:
            progress = (step + 1) / warmup_steps if warmup == "linear" else 0.0
            return warmup_factor + (1 - warmup_factor) * progress
        match decay:
            case "step":
                return float(decay_factor ** bisect_right(milestones, step))
            case "cosine":
                return 0.5 * (1 + cos(pi * (step - warmup_steps) / max(1, steps - warmup_steps)))
            case "none":
                return 1.0

    return factor


def make_lr_scheduler(optimizer: torch.optim.Optimizer, factor: Callable[[int], float]) -> LambdaLR:
    """Build torch's LambdaLR from a factor; its state is a step number."""
    return LambdaLR(optimizer, factor)


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """Build an exponential moving average of all weights and buffers."""
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
