"""Where a training took its first steps from: the record in its folder, and its tags in the tracking store."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from fcos.storage.run_folder import ORIGIN
from fcos.storage.store_conventions import Tag
from orchestration.trial.files import write_json


@dataclass(frozen=True)
class OriginRecord:
    """The training whose first steps another one took."""

    # Its id (see training_id.txt), which its runs in the tracking store carry, and its sweep; both are empty where they
    # are not known.
    training_id: str
    sweep: str
    # Its arms and seed, for people.
    label: str
    step: int


def write_origin(folder: Path, origin: OriginRecord) -> None:
    """Record where a training's first steps come from."""
    write_json(folder / ORIGIN, asdict(origin))


def read_origin(folder: Path) -> OriginRecord | None:
    """Return where a training's first steps come from, or None for one that began at step 0."""
    try:
        values = json.loads((folder / ORIGIN).read_text())
        return OriginRecord(str(values["training_id"]), str(values["sweep"]), str(values["label"]), int(values["step"]))
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None


def origin_tags(folder: Path) -> dict[str, str]:
    """Return the tags of a training that began at a step of another one; none for others."""
    origin = read_origin(folder)
    if origin is None:
        return {}
    # The label of a run in the store names its sweep.
    named = origin.label if not origin.sweep or origin.sweep in origin.label else f"{origin.label} of {origin.sweep}"
    return {Tag.BEGUN_FROM: named, Tag.BEGUN_FROM_ID: origin.training_id, Tag.BEGUN_AT: str(origin.step)}
