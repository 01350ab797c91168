"""What a tracking store did not take at the end of a command, in words: why, and what helps."""

from pathlib import Path

from fcos.storage.store_conventions import public_uri
from orchestration.cli.console import format_count
from orchestration.tracking.tracker import Tracker


def not_stored(tracker: Tracker, folder: Path, seconds: float) -> str:
    """Describe why a store was not closed within some seconds, and how the rest is delivered."""
    outage = tracker.outage
    why = f"tracking.uri={public_uri(tracker.uri)}: not within {seconds:.0f} s" if outage is None else str(outage)
    helps = "" if outage is None or outage.advice in why else f"; {outage.advice}"
    return f"not everything is stored: {why}{helps}; then the same command delivers the rest from {folder}"


def artifacts_not_stored(problem: tuple[int, int, str], folder: Path) -> str:
    """Describe the artifacts that a store could not take: their number, that of their runs, and why."""
    artifacts, runs, why = problem
    return (
        f"{format_count(artifacts, 'artifact')} of {format_count(runs, 'run')} could not be stored: {why}; when that "
        f"place can be written to, the same command delivers them from {folder}"
    )
