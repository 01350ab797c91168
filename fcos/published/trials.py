"""The trials of an extracted archive."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import RootModel

from fcos.published.layout import RUN, TRIALS
from fcos.published.records import PublishedRun, read_record
from fcos.storage.evaluation_files import INDEX
from fcos.storage.store_conventions import Artifact, RunStatus, Tag, extension_of


@dataclass(frozen=True)
class PublishedTrial:
    """A trial of an archive that counts, with the folder of its files."""

    run: PublishedRun
    folder: Path

    @property
    def label(self) -> str:
        """Name for people: `branch seed 0`."""
        return f"{self.run.tags.get(Tag.ARM) or self.run.name} seed {self.run.tags.get(Tag.SEED, '?')}"

    @property
    def is_finished(self) -> bool:
        """Whether it ran to its end."""
        return self.run.status == RunStatus.FINISHED

    @property
    def is_count(self) -> bool:
        """Whether it counts what an assignment does, and trains nothing."""
        return self.run.params.get("task") == "coverage"

    @property
    def is_extended(self) -> bool:
        """Whether it went on from a checkpoint of another schedule, which no archive holds."""
        return bool(extension_of(self.run.tags))

    @property
    def has_evaluation(self) -> bool:
        """Whether its detections are in the archive."""
        return (self.folder / Artifact.EVALUATION / INDEX).is_file()

    @property
    def has_config(self) -> bool:
        """Whether its configuration is in the archive, by which it can be trained again."""
        return (self.folder / Artifact.CONFIG).is_file()

    def read_config(self) -> dict[str, Any]:
        """Return its configuration as plain values; raises ArchiveError for a broken file."""
        return read_record(self.folder / Artifact.CONFIG, _Values).root


class _Values(RootModel[dict[str, Any]]):
    """A configuration as plain values."""


def list_trials(folder: Path) -> list[PublishedTrial]:
    """Return the trials of an archive that are not superseded; raises ArchiveError for a broken record."""
    folders = sorted(path for path in (folder / TRIALS).glob("*") if path.is_dir())
    trials = [PublishedTrial(read_record(each / RUN, PublishedRun), each) for each in folders]
    return [trial for trial in trials if Tag.SUPERSEDED not in trial.run.tags]
