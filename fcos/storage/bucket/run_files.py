"""Files of a run that go to a bucket: those that grow, those that never change, and what is in step with it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from fcos.storage.bucket.manifest import StoredObject
from fcos.storage.files import write_atomically
from fcos.storage.run_folder import (
    ATTEMPTS,
    CHECKPOINTS,
    FAILURE,
    LOG,
    NOTES,
    ORIGIN,
    POINTS,
    REUSED,
    SUMMARY,
    TRAINING_ID,
    RunSummary,
)
from fcos.storage.summary_file import FinishedRun

# The record of the best evaluation, which fcos/training/best.py writes.
BEST: Final = f"{CHECKPOINTS}/best.json"
# Written again and again while a run is under way. A newer object than its index lists is as good: each is whole.
GROWING: Final = (POINTS, NOTES, ATTEMPTS, FAILURE, BEST, LOG)
# Written once.
FIXED: Final = (TRAINING_ID, ORIGIN, REUSED)
# Local: what the bucket held of the folder's files when both were last in step.
SYNCED: Final = ".synced.json"


def result_files(summary: RunSummary) -> list[str]:
    """Return the names of all files of a finished run, the summary that marks it as finished last."""
    return [*dict.fromkeys(summary.all_files()), SUMMARY]


def parse_finished_run(data: bytes) -> FinishedRun | None:
    """Return the content of summary.json, None where it is no summary."""
    try:
        return FinishedRun.model_validate_json(data)
    except (ValueError, RecursionError):
        return None


@dataclass(frozen=True)
class Synced:
    """Digests of the files of a local folder as the bucket held them when both were last in step."""

    digests: Mapping[str, str]

    @classmethod
    def read(cls, folder: Path) -> "Synced":
        """Return the record of a folder; an empty one where there is none."""
        try:
            values = json.loads((folder / SYNCED).read_text())
        except (OSError, ValueError):
            return cls({})
        return cls({str(name): str(value) for name, value in values.items()} if isinstance(values, dict) else {})

    def write(self, folder: Path) -> None:
        """Write the record into its folder."""
        write_atomically(folder / SYNCED, json.dumps(dict(self.digests), indent=1))

    def updated(self, files: Mapping[str, StoredObject | None]) -> "Synced":
        """Return the record with the files that have been uploaded or fetched, None for one that is gone."""
        merged = {**self.digests, **{name: "" if each is None else each.sha256 for name, each in files.items()}}
        return Synced({name: digest for name, digest in merged.items() if digest})

    def choose(self, name: str, local: str | None, remote: str) -> Literal["local", "remote"]:
        """Return which content of a file counts, by the digests of both.

        The bucket's does, unless this host alone has changed the file since both were in step.
        """
        if local is None:
            return "remote"
        changed_here_alone = self.digests.get(name) == remote and local != remote
        return "local" if local == remote or changed_here_alone else "remote"


def read_file(path: Path) -> bytes | None:
    """Return the content of a local file, None where there is none."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def read_finished(folder: Path) -> FinishedRun | None:
    """Return the content of a local folder's summary.json, None where the run is not finished there."""
    data = read_file(folder / SUMMARY)
    return None if data is None else parse_finished_run(data)


def best_step(folder: Path) -> int | None:
    """Return the step of the best evaluation in a local folder, None where none is recorded."""
    data = read_file(folder / BEST)
    try:
        return None if data is None else int(json.loads(data)["step"])
    except (ValueError, TypeError, KeyError):
        return None
