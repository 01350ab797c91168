"""Processes of this machine: told apart by pid and begin, ended with all that they started."""

from contextlib import suppress

import psutil

# A begin is counted from the clock, which may have been set meanwhile; no pid is given again that soon.
CLOCK_SECONDS = 5.0


def begin_of(pid: int) -> float:
    """When a process began, in seconds since 1970: a pid is given again; 0 where it is gone."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE:
            return float(process.create_time())
    return 0.0


def is_alive(pid: int, begin: float) -> bool:
    """Whether the process that had this pid and begin is still there; a stopped one is."""
    now = begin_of(pid)
    return now > 0 and abs(now - begin) < CLOCK_SECONDS


def end(pid: int) -> None:
    """Kill a process and all below it, stopped ones too; they can do nothing about it."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in [process, *process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
