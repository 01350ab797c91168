"""Factor of the learning rate at each step; without torch, as plans compare schedules by it."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from math import cos, pi

from fcos.config.choices import Decay, Warmup


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
