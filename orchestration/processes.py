"""Processes of this machine: told apart by pid and begin, ended with all that they started."""

import os
import signal
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


def begin_of(pid: int) -> str:
    """When a process began, in the system's own count: a pid is given again; empty where it is gone or nobody says."""
    fields = _fields(pid)
    return fields[19] if fields and fields[0] != "Z" else ""


def is_alive(pid: int, begin: str) -> bool:
    """Whether the process that had this pid and begin is still there; a stopped one is."""
    if begin:
        return begin_of(pid) == begin
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def end(pid: int) -> None:
    """Kill a process and all below it, stopped ones too; they can do nothing about it."""
    for each in [pid, *_below(pid)]:
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def _below(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for folder in PROC.glob("[0-9]*"):
        if fields := _fields(int(folder.name)):
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    found = [pid]
    for each in found:
        found += children.get(each, ())
    return found[1:]


def _fields(pid: int) -> list[str]:
    """What the system says of a process after its name, which stands in brackets and may hold anything."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
