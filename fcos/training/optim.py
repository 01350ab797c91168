"""Optimizer, its learning rate scheduler, and the moving average of the weights."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fcos.config.run import ScheduleConfig

# Prefix of the backbone's parameters in a detector.
BACKBONE = "backbone."


def parameter_groups(model: nn.Module, config: ScheduleConfig) -> list[dict[str, object]]:
    """Return the trainable parameters in groups: with weight decay and without, the backbone's apart and last.

    Parameters of one axis (norms and biases) are decayed only with schedule.decay_one_axis. The backbone has groups of
    its own only where its learning rate is another one.
    """
    apart = config.backbone_lr_factor != 1
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {
        (own, decayed): [] for own in (False, True) for decayed in (True, False)
    }
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decayed = config.decay_one_axis or parameter.ndim > 1
            groups[apart and name.startswith(BACKBONE), decayed].append(parameter)
    rates = {False: config.resolved_lr, True: config.resolved_lr * config.backbone_lr_factor}
    return [
        {"params": parameters, "weight_decay": config.weight_decay if decayed else 0.0, "lr": rates[own]}
        for (own, decayed), parameters in groups.items()
        if parameters
    ]


def make_optimizer(model: nn.Module, config: ScheduleConfig, *, fused: bool) -> torch.optim.Optimizer:
    """Build SGD with momentum or AdamW; `fused` runs one kernel per group (CPU and CUDA)."""
    groups = parameter_groups(model, config)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.resolved_lr, momentum=config.momentum, fused=fused)
    return torch.optim.AdamW(groups, lr=config.resolved_lr, fused=fused)


def make_lr_scheduler(optimizer: torch.optim.Optimizer, factor: Callable[[int], float]) -> LambdaLR:
    """Build torch's LambdaLR from a factor; its state is a step number."""
    return LambdaLR(optimizer, factor)


def resume_scheduler(scheduler: LambdaLR, saved: Mapping[str, Any]) -> None:
    """Load a scheduler's saved state, and set the learning rates of the next step by the scheduler's own factor.

    Those of the checkpoint are of the schedule that it was trained by, from which this one may part there.
    """
    bases, step = scheduler.base_lrs, saved["last_epoch"]
    rates = [base * factor(step) for base, factor in zip(bases, scheduler.lr_lambdas, strict=True)]
    scheduler.load_state_dict({**saved, "base_lrs": bases, "_last_lr": rates})
    for group, rate, base in zip(scheduler.optimizer.param_groups, rates, bases, strict=True):
        group["lr"], group["initial_lr"] = rate, base


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """Build an exponential moving average of all weights and buffers."""
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
