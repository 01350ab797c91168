"""What a training leaves in its folder for the driver: points, summary, failure, log; all written whole."""

import errno
import json
import logging
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

POINTS = "points.jsonl"
SUMMARY = "summary.json"
FAILURE = "failure.json"
REUSED = "reused.json"
LOG = "log.txt"
NOTES = "notes.txt"
TRAINING_ID = "training_id.txt"
# As in fcos.files, which this file does not import: torch comes with it.
STOP = "stop"
# Ends that are no failure: the same command goes on, once there is more of what was used up.
INTERRUPTIONS = ("BudgetUsedUp", "DiskFull")
# Bytes below which a disk is full: a record of why a training ended needs some.
LEAST_SPACE = 1 << 20

# (arm or None for every arm, key, step) -> value
Points = dict[tuple[str | None, str, int], float]


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("w") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def training_id(folder: Path) -> str:
    """Return the id of the training whose results a folder holds; empty for one begun before there were ids."""
    try:
        return (folder / TRAINING_ID).read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def begin_training(folder: Path) -> None:
    """Give a new training its id: what is recorded of it elsewhere belongs to this id and to no later training.

    A folder that holds results already keeps its id, or stays without one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not any((folder / name).exists() for name in (TRAINING_ID, POINTS, SUMMARY, "checkpoints")):
        (folder / TRAINING_ID).write_text(f"{uuid.uuid4().hex}\n")


def append_points(folder: Path, points: Iterable[list[Any]]) -> None:
    """Keep points on disk before anybody else hears of them."""
    path = folder / POINTS
    torn = path.exists() and path.stat().st_size > 0 and path.read_bytes()[-1:] != b"\n"
    with path.open("a") as file:
        # A kill may have cut the last line short; ours must not be glued to it.
        file.write("\n" if torn else "")
        file.writelines(json.dumps(point) + "\n" for point in points)


def read_points(folder: Path) -> Points:
    """All points of all attempts; of a step that was done twice the last attempt's."""
    points: Points = {}
    path = folder / POINTS
    if not path.exists():
        return points
    for line in path.read_text().splitlines():
        try:
            arm, key, step, value = json.loads(line)
            points[arm, key, step] = value
        except (ValueError, TypeError):
            # Cut short by a kill: the attempt that followed made these points again.
            continue
    return points


def write_summary(folder: Path, identity: str, summary: Mapping[str, Any]) -> None:
    """Mark a training as finished."""
    write_json(folder / SUMMARY, {"identity": identity, "summary": dict(summary)})


def read_summary(folder: Path, identity: str, arms: Iterable[str], *, or_pruned: bool = False) -> dict[str, Any] | None:
    """The summary of a finished training of this identity in which all arms were evaluated, or None.

    `or_pruned` takes one that was stopped early for a result too.
    """
    try:
        stored = json.loads((folder / SUMMARY).read_text())
        summary = stored["summary"] if stored["identity"] == identity else None
        known = set(summary["metrics"]) if summary else set()
        whole = summary is not None and summary.get("pruned") is None
        own = summary is not None and _stays_inside(folder, summary)
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError, RuntimeError):
        return None
    return summary if summary and own and set(arms) <= known and (whole or or_pruned) else None


def _stays_inside(folder: Path, summary: Mapping[str, Any]) -> bool:
    """Whether all that a summary names lies in its folder: files are copied and sent to the tracking store."""
    files = [*summary.get("files", ()), *(name for names in summary.get("pictures", {}).values() for name in names)]
    inside = all((folder / name).resolve().is_relative_to(folder.resolve()) for name in files)
    # A checkpoint may be a link to another sweep's; its name may not lead elsewhere.
    checkpoint = Path(summary.get("checkpoint", ""))
    return inside and not checkpoint.is_absolute() and ".." not in checkpoint.parts


def ask_to_stop(folder: Path) -> None:
    """Ask a training to end at its next report."""
    (folder / STOP).touch()


def hold_back(sweep: Path) -> None:
    """Let no training of a sweep begin, and have those that are stopped count as interrupted."""
    (sweep / STOP).touch()


def is_held_back(folder: Path) -> bool:
    """Whether the sweep of a training's folder (<sweep>/trials/<identity>) lets none begin."""
    return (folder.parents[1] / STOP).exists()


def let_go(sweep: Path) -> None:
    """Let trainings begin again."""
    (sweep / STOP).unlink(missing_ok=True)


def clear_stop(folder: Path) -> None:
    """Forget that an earlier attempt was asked to stop."""
    (folder / STOP).unlink(missing_ok=True)


def read_reused(folder: Path) -> dict[str, Any] | None:
    """Where a training that was taken from another sweep comes from (see reuse.take), or None for one of its own."""
    try:
        record: dict[str, Any] = json.loads((folder / REUSED).read_text())
        known = isinstance(record["arms"], dict) and isinstance(record["trained_by"], str) and "sweep" in record
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None
    return record if known else None


def write_failure(folder: Path, error: BaseException, *, final: bool) -> None:
    """Say why a training failed; the first worker to fail knows the reason, the others only its echo."""
    text = str(error) if final else f"{type(error).__name__}: {error}"
    record = {"kind": type(error).__name__, "message": _last_lines(text), "final": final}
    try:
        with (folder / FAILURE).open("x") as file:
            json.dump(record, file)
    except FileExistsError:
        logging.getLogger(__name__).info("a failure was recorded before this one")
    except OSError:
        # A full disk speaks for itself; see is_interrupted.
        logging.getLogger(__name__).exception("the failure cannot be recorded")


def read_failure(folder: Path) -> dict[str, Any] | None:
    """Why the last attempt failed, or None."""
    try:
        record = json.loads((folder / FAILURE).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return record if isinstance(record, dict) and {"kind", "message", "final"} <= set(record) else None


def add_note(folder: Path, text: str) -> None:
    """Remark on how a training went, for its summary; each remark is made once."""
    if text not in read_notes(folder):
        with suppress(OSError), (folder / NOTES).open("a") as file:
            file.write(f"{text}\n")


def read_notes(folder: Path) -> list[str]:
    """All remarks of all attempts."""
    try:
        return (folder / NOTES).read_text().splitlines()
    except FileNotFoundError:
        return []


def diverged(folder: Path) -> bool:
    """Whether the last attempt ended because its loss was no longer finite."""
    failure = read_failure(folder)
    return failure is not None and failure["kind"] == "Diverged"


def is_interrupted(folder: Path) -> bool:
    """Whether the last attempt ended for want of hours or of space, which is no failure of the training."""
    failure = read_failure(folder)
    if failure is None:
        return is_held_back(folder) or has_no_space(folder)
    return failure["kind"] in INTERRUPTIONS


def is_preempted(folder: Path) -> bool:
    """Whether the last attempt saved itself and left a machine that will be taken away."""
    failure = read_failure(folder)
    return failure is not None and failure["kind"] == "Preempted"


def has_no_space(folder: Path) -> bool:
    """Whether the disk of a folder is full."""
    return shutil.disk_usage(folder).free < LEAST_SPACE


def is_no_space(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, tells of a full disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def reason_of(folder: Path) -> str:
    """Why a training failed, with its log where its own message does not say enough."""
    failure = read_failure(folder)
    log = folder / LOG
    if failure is None and has_no_space(folder):
        return f"no space left on the disk of {folder}; its checkpoints are whole"
    if failure is None:
        return f"its process ended without a word (killed, or out of memory); log: {log}"
    return str(failure["message"]) if failure["final"] else f"{failure['message']}\nlog: {log}"


def clear_failure(folder: Path) -> None:
    """Forget the failure of an earlier attempt."""
    (folder / FAILURE).unlink(missing_ok=True)


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


def _last_lines(text: str, count: int = 12) -> str:
    lines = text.strip().splitlines()
    return "\n".join(lines[-count:])
