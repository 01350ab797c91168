"""What ends a run before its last step: somebody who stops it, or a machine that will be taken away."""

import time
from dataclasses import dataclass, field
from typing import Literal

from fcos.distributed import broadcast_object
from fcos.runtime import Runtime

# Seconds between two questions whether the machine stays; notices come 30 s or more ahead.
EVERY_SECONDS = 3.0


class Preempted(RuntimeError):
    """The run saved a checkpoint and left, because a machine of it will be taken away; it goes on elsewhere."""


@dataclass
class Watch:
    """Asks at steps that all workers agree on: each answer names the step of the next question."""

    runtime: Runtime
    # Step of the last question, and of the next.
    step: int
    due: int = field(init=False)
    _since: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.due = self.step + 1

    def ask(self, step: int, *, reported: bool) -> Literal["", "stop", "leave"]:
        """What is asked of the run after a step; a collective at reports and at due steps, nothing at others."""
        if not reported and step < self.due:
            return ""
        runtime = self.runtime
        leaves = step >= self.due and runtime.leave_asked()
        stops = reported and runtime.rank == 0 and runtime.stop_asked()
        stops, leaves, self.due = broadcast_object((stops, leaves, self._next(step)), runtime.device)
        return "stop" if stops else "leave" if leaves else ""

    def _next(self, step: int) -> int:
        """The step of the next question, by the pace since the last."""
        if step < self.due:
            return self.due
        now = time.monotonic()
        pace = max(now - self._since, 1e-9) / (step - self.step)
        self.step, self._since = step, now
        return step + max(1, int(EVERY_SECONDS / pace))
