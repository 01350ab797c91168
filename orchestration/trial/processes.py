"""Processes of this machine, identified by pid and start time."""

import os
from contextlib import suppress

import psutil

# A start time is computed from the clock, which may have been set meanwhile; no pid is given again that soon.
CLOCK_SECONDS = 5.0


def start_time(pid: int) -> float:
    """Return when a process started, in seconds since 1970, as pids are given again; 0 where it is gone."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE:
            return float(process.create_time())
    return 0.0


def is_alive(pid: int, start: float) -> bool:
    """Return whether the process with this pid and start time is still there; a suspended one is."""
    now = start_time(pid)
    return now > 0 and abs(now - start) < CLOCK_SECONDS


def kill(pid: int) -> None:
    """Kill a process and all below it but this one, suspended ones too."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in [process, *process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                if each.pid != os.getpid():
                    each.kill()
