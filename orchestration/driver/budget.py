"""Budget of a sweep in hours, over all its commands: counted while it runs, enforced at the limit."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestration.cluster.resources import Demand
from orchestration.config.schema import BudgetConfig
from orchestration.driver.watchdogs import repeating
from orchestration.planning.spent import SPENT, read_spent
from orchestration.trial.files import hold_back, release, request_stop, write_json
from orchestration.trial.stalls import GAP_SECONDS

TICK_SECONDS = 1.0


@contextmanager
def enforce_budget(
    folder: Path, limits: BudgetConfig, resources: Demand, running: Callable[[], list[Path]]
) -> Iterator[None]:
    """Count hours while the block runs; at a limit the `running` trainings are requested to stop, and no other begins.

    A kill loses a tick of the count at most.
    """
    spent, before = read_spent(folder), time.monotonic()

    def count() -> None:
        nonlocal before
        # By the clock: on a busy machine a tick is late.
        now = time.monotonic()
        spent.add(min(now - before, GAP_SECONDS), len(running()), resources)
        before = now
        with suppress(OSError):
            # A full disk ends trainings by itself; the count goes on in memory.
            write_json(folder / SPENT, vars(spent))
        if spent.exceeded(limits):
            # A folder that cannot be written to keeps none of the others from its request, nor the next tick.
            with suppress(OSError):
                hold_back(folder)
            # Again at every tick: a training that was about to begin clears the request to an earlier attempt.
            for each in running():
                with suppress(OSError):
                    request_stop(each)

    release(folder)
    with repeating("budget", TICK_SECONDS, count):
        yield
