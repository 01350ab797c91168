"""First steps that two schedules have in common: those before their learning rates differ."""

from functools import lru_cache
from typing import NamedTuple

from fcos.config.choices import Decay, Warmup
from fcos.config.run import ScheduleConfig
from fcos.training.lr_factor import lr_factor


class _Rates(NamedTuple):
    steps: int
    warmup: Warmup
    warmup_steps: int
    warmup_factor: float
    decay: Decay
    milestones: tuple[int, ...]
    decay_factor: float


def common_steps(one: ScheduleConfig, other: ScheduleConfig) -> int:
    """Return the number of first steps that both have, and in which their learning rates are the same to the last bit.

    Two trainings that differ in nothing else have the same state after so many steps.
    """
    return _common(*sorted((_rates(one), _rates(other))))


@lru_cache(maxsize=4096)
def _common(one: _Rates, other: _Rates) -> int:
    steps = min(one.steps, other.steps)
    if one == other:
        return steps
    first, second = lr_factor(**one._asdict()), lr_factor(**other._asdict())
    return next((step for step in range(steps) if first(step) != second(step)), steps)


def _rates(schedule: ScheduleConfig) -> _Rates:
    return _Rates(*(getattr(schedule, key) for key in _Rates._fields))
