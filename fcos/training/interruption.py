"""Early ends of a run: a stop that was requested, or the preemption of a machine."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from fcos.distributed import broadcast_object
from fcos.runtime import Runtime

# Seconds between two polls for a preemption; notices come 30 s or more ahead.
POLL_SECONDS = 3.0

ItemT = TypeVar("ItemT")


class Preempted(RuntimeError):
    """The run saved a checkpoint and ended, as a machine of it will be taken away; it goes on elsewhere."""


class EvaluationInterrupted(RuntimeError):
    """A machine of the run will be taken away, and an evaluation is given up for it."""


@dataclass
class InterruptionPoll:
    """Poll the launcher at steps that all workers agree on: each poll names the step of the next one."""

    runtime: Runtime
    # Step of the last poll, and of the next.
    step: int
    due: int = field(init=False)
    _since: float = field(init=False)

    def __post_init__(self) -> None:
        self.due, self._since = self.step + 1, time.monotonic()

    def poll(self, step: int, *, reported: bool) -> Literal["", "stop", "preempt"]:
        """Return what is requested after a step; a collective at reports and at due steps, nothing at others."""
        if not reported and step < self.due:
            return ""
        runtime = self.runtime
        preempts = step >= self.due and runtime.preemption_requested()
        stops = reported and runtime.rank == 0 and runtime.stop_requested()
        stops, preempts, self.due = broadcast_object((stops, preempts, self._next(step)), runtime.device)
        return "stop" if stops else "preempt" if preempts else ""

    def _next(self, step: int) -> int:
        """Return the step of the next poll, by the pace since the last."""
        if step < self.due:
            return self.due
        now = time.monotonic()
        pace = max(now - self._since, 1e-9) / (step - self.step)
        self.step, self._since = step, now
        return step + max(1, int(POLL_SECONDS / pace))


def until_preempted(batches: Iterable[ItemT], runtime: Runtime, shared: int) -> Iterator[ItemT]:
    """Yield the batches of an evaluation, and poll for a preemption after them, at those that all workers agree on.

    `shared` is how many batches every worker has at least. Raises EvaluationInterrupted, on every worker after the same
    number of batches.
    """
    interruption = InterruptionPoll(runtime, 0)
    for number, batch in enumerate(batches, start=1):
        yield batch
        # Here the batch has been evaluated, so that the pace is that of an evaluation.
        if number <= shared and interruption.poll(number, reported=False) == "preempt":
            raise EvaluationInterrupted(f"after {number} of {shared} batches or one more")
