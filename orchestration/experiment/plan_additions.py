"""Trainings that a search adds to the plan of its folder while it runs: a line each, until plan.json is written anew.

plan.json holds a whole configuration for each point. Written for each of thousands of points, and larger each time, it
would take most of the driver's time.
"""

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from fcos.storage.store_conventions import Artifact

ADDITIONS = "plan_additions.jsonl"
# Up to so many trainings the plan is written for each, and then each time that it has grown by a twentieth.
SMALL, GROWTH = 50, 20


class Addition(BaseModel):
    """A training of an arm, as plan.json has both; the key is that of the plan. point: None for an arm without one."""

    model_config = ConfigDict(frozen=True)

    key: str
    arm: str
    config: dict[str, Any]
    trial: dict[str, Any]
    point: dict[str, Any] | None = None


def is_whole_plan_due(count: int) -> bool:
    """Return whether a plan that has grown to so many trainings is written whole."""
    if count <= SMALL:
        return True
    # So that the trainings of all writes together are at most about twenty times those of the last one.
    written = SMALL
    while written < count:
        written += max(1, written // GROWTH)
    return written == count


def append_addition(folder: Path, addition: Addition) -> None:
    """Append a training, on its own line also where a kill has cut the last one short."""
    path = folder / ADDITIONS
    with path.open("a+b") as file:
        end = file.seek(0, 2)
        torn = end > 0 and (file.seek(end - 1), file.read(1))[1] != b"\n"
        file.write(b"\n" * torn + addition.model_dump_json().encode() + b"\n")


def stored_key(folder: Path) -> str:
    """Return the key of the plan in a folder."""
    path = folder / Artifact.PLAN
    stat = path.stat()
    return _read_key(path, stat.st_ino, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def _read_key(path: Path, *version: int) -> str:
    """Return the key that a plan records; read once for each version of its file."""
    return str(json.loads(path.read_text())["key"])


def remove_additions(folder: Path) -> None:
    """Remove what plan.json has by now."""
    (folder / ADDITIONS).unlink(missing_ok=True)


def has_additions(folder: Path) -> bool:
    """Return whether trainings were added since plan.json was written."""
    return (folder / ADDITIONS).exists()


def read_planned(folder: Path) -> Any:
    """Return the plain values of plan.json with the trainings that were added since; raises OSError, ValueError."""
    values = json.loads((folder / Artifact.PLAN).read_text())
    if not isinstance(values, dict):
        return values
    try:
        lines = (folder / ADDITIONS).read_text().splitlines()
    except FileNotFoundError:
        return values
    try:
        _add_all(values, lines)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{Artifact.PLAN} is no plan") from error
    return values


def _add_all(values: dict[str, Any], lines: Iterable[str]) -> None:
    known = {trial["identity"] for trial in values["trials"]}
    for line in lines:
        try:
            addition = Addition.model_validate_json(line)
        except ValidationError:
            # Cut short by a kill: its training has not begun.
            continue
        # Those of a plan that another one has replaced are none of its.
        if addition.key == values.get("key"):
            _add(values, addition, known)


def _add(values: Mapping[str, Any], addition: Addition, known: set[str]) -> None:
    """Add a training to the values of plan.json. known: identities of its trainings, which is added to."""
    values["arms"].setdefault(addition.arm, addition.config)
    if addition.trial["identity"] not in known:
        values["trials"].append(addition.trial)
        known.add(addition.trial["identity"])
    if addition.point is not None and values.get("search") is not None:
        values["search"].setdefault("drawn", {}).setdefault(addition.arm, addition.point)
