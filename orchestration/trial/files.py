"""Files of a training's folder: points, summary, notes, its id, requests to stop.

Everything is written whole or appended line by line, so that a kill at any moment loses the last line at most. The
names of all files are in fcos/storage/run_folder.py; failures are in failures.py, attempts in retries.py.
"""

import json
import logging
import math
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fcos.storage.files import write_atomically
from fcos.storage.run_folder import (
    CHECKPOINTS,
    LOG,
    NOTES,
    POINTS,
    REUSED,
    STOP,
    SUMMARY,
    TRAINING_ID,
    MetricPoint,
    RunSummary,
)
from fcos.storage.summary_file import FinishedRun, read_finished_run, write_finished_run

# Results that a process keeps of those that it has read.
SUMMARIES = 20_000


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    write_atomically(path, json.dumps(value, indent=1))


def training_id(folder: Path) -> str:
    """Return the id of the training whose results a folder holds; empty for one of versions without ids."""
    try:
        return (folder / TRAINING_ID).read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def begin_training(folder: Path) -> None:
    """Give a new training an id: its runs in the tracking store belong to this id and to no later training.

    A folder that holds results already keeps its id, or stays without one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not any((folder / name).exists() for name in (TRAINING_ID, POINTS, SUMMARY, CHECKPOINTS)):
        (folder / TRAINING_ID).write_text(f"{uuid.uuid4().hex}\n")


def append_points(folder: Path, points: Iterable[MetricPoint]) -> None:
    """Append metric points, before they are reported anywhere else."""
    path = folder / POINTS
    torn = path.exists() and path.stat().st_size > 0 and path.read_bytes()[-1:] != b"\n"
    with path.open("a") as file:
        # A kill may have cut the last line short.
        file.write("\n" if torn else "")
        file.writelines(json.dumps(point) + "\n" for point in points)


def read_points(folder: Path) -> list[MetricPoint]:
    """Return the points of all attempts; of a step that was trained twice those of the last attempt."""
    points: dict[tuple[str | None, str, int], MetricPoint] = {}
    path = folder / POINTS
    if not path.exists():
        return []
    for line in path.read_text().splitlines():
        try:
            point = MetricPoint(*json.loads(line))
            points[point.arm, point.key, point.step] = point
        except (ValueError, TypeError):
            # Cut short by a kill: the attempt that followed made these points again.
            continue
    return list(points.values())


def write_summary(folder: Path, identity: str, summary: RunSummary) -> None:
    """Mark a training as finished."""
    write_finished_run(folder, FinishedRun(identity=identity, summary=summary))


def read_summary(folder: Path, identity: str, arms: Iterable[str], *, or_pruned: bool = False) -> RunSummary | None:
    """Return the summary of a finished training of this identity in which all arms were evaluated, or None.

    `or_pruned` accepts one that was stopped early too.
    """
    try:
        stat = (folder / SUMMARY).stat()
        finished = _read_inside(folder, stat.st_ino, stat.st_mtime_ns, stat.st_size)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    if finished is None or finished.identity != identity:
        return None
    summary = finished.summary
    whole = or_pruned or summary.pruned is None
    return summary if whole and set(arms) <= set(summary.metrics) else None


@lru_cache(maxsize=SUMMARIES)
def _read_inside(folder: Path, *version: int) -> FinishedRun | None:
    """Return the result in a folder, None where it names what lies outside; read once for each version of its file.

    A command needs that of each training some ten times. Raises OSError or ValueError.
    """
    finished = read_finished_run(folder)
    return finished if _stays_inside(folder, finished.summary) else None


def load_summary(folder: Path) -> RunSummary:
    """Return the summary of a folder that is known to be finished.

    Raises OSError or ValueError where there is none.
    """
    return read_finished_run(folder).summary


def read_final_values(folder: Path, metrics: Mapping[str, Mapping[str, float]], metric: str) -> dict[str, float]:
    """Return a metric of each arm at the end of a finished training; arms without a finite value are left out.

    What is no result of an evaluation, such as a loss, is the last value that was reported.

    metrics: those of the summary, by arm.
    """
    values = {arm: of_arm[metric] for arm, of_arm in metrics.items() if metric in of_arm}
    if not values:
        last = {point.arm: point.value for point in sorted(read_points(folder), key=_step_of) if point.key == metric}
        values = {arm: last.get(arm, last.get(None, math.nan)) for arm in metrics}
    return {arm: value for arm, value in values.items() if math.isfinite(value)}


def _step_of(point: MetricPoint) -> int:
    return point.step


def _stays_inside(folder: Path, summary: RunSummary) -> bool:
    """Return whether all that a summary names lies in its folder: files are copied and sent to the tracking store."""
    try:
        root = folder.resolve()
        # Most names share their folder, whose links are followed once.
        parents: dict[Path, Path] = {}
        inside = all(_is_inside(folder / name, root, parents) for name in summary.all_files())
    except (RuntimeError, ValueError):
        return False
    # A checkpoint may be a link to another sweep's; its name may not lead elsewhere.
    checkpoint = Path(summary.checkpoint or "")
    return inside and not checkpoint.is_absolute() and ".." not in checkpoint.parts


def _is_inside(path: Path, root: Path, parents: dict[Path, Path]) -> bool:
    """Return whether a path leads into a folder. parents: resolved ones, which is added to. Raises ValueError."""
    # With a zero byte it is no path.
    if ".." in path.parts or "\0" in path.name or path.is_symlink():
        return path.resolve().is_relative_to(root)
    if path.parent not in parents:
        parents[path.parent] = path.parent.resolve()
    return parents[path.parent].is_relative_to(root)


def request_stop(folder: Path) -> None:
    """Request a training to end at its next report."""
    (folder / STOP).touch()


def hold_back(sweep: Path) -> None:
    """Let no training of a sweep begin, and let those that are stopped count as interrupted."""
    (sweep / STOP).touch()


def release(sweep: Path) -> None:
    """Let trainings of a sweep begin again."""
    (sweep / STOP).unlink(missing_ok=True)


def clear_stop(folder: Path) -> None:
    """Remove the request that an earlier attempt was stopped by."""
    (folder / STOP).unlink(missing_ok=True)


@dataclass(frozen=True)
class ReuseRecord:
    """Where a training comes from that was taken from another sweep (see planning/reuse.py)."""

    # The run in the tracking store that trained it, and its sweep.
    trained_by: str
    sweep: str
    # Arm -> the run whose evaluation was taken as it is.
    arms: Mapping[str, str]


def write_reused(folder: Path, record: ReuseRecord) -> None:
    """Mark a training as taken from another sweep."""
    write_json(folder / REUSED, asdict(record))


def read_reused(folder: Path) -> ReuseRecord | None:
    """Return where a training was taken from, or None for one that was trained here."""
    try:
        values = json.loads((folder / REUSED).read_text())
        record = ReuseRecord(values["trained_by"], str(values["sweep"]), values["arms"])
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None
    return record if isinstance(record.arms, dict) and isinstance(record.trained_by, str) else None


def add_note(folder: Path, text: str) -> None:
    """Add a note on a training for its summary; the same note is kept once."""
    if text not in read_notes(folder):
        with suppress(OSError), (folder / NOTES).open("a") as file:
            file.write(f"{text}\n")


def write_sweep_notes(sweep: Path, notes: Iterable[str]) -> None:
    """Replace the notes on the data that count for all trainings of a sweep."""
    text = "".join(f"{note}\n" for note in notes)
    if text or (sweep / NOTES).exists():
        write_atomically(sweep / NOTES, text)


def read_sweep_notes(folder: Path) -> list[str]:
    """Return the notes of the sweep of a training's folder (<sweep>/trials/<identity>)."""
    return read_notes(folder.parents[1])


def read_notes(folder: Path) -> list[str]:
    """Return the notes of all attempts."""
    try:
        return (folder / NOTES).read_text().splitlines()
    except FileNotFoundError:
        return []


@contextmanager
def logged(folder: Path) -> Iterator[None]:
    """Send this process's log and warnings to the training's log file while the block runs."""
    handler = logging.FileHandler(folder / LOG)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        logging.getLogger().removeHandler(handler)
        handler.close()
