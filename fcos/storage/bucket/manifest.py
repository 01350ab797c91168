"""Records of what a bucket holds of a run, written after what they list: an index, and a manifest of each checkpoint.

Readers go by these names and digests and not by listings, which may lag behind.
"""

import hashlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from fcos.storage.bucket.objects import Objects
from fcos.storage.checkpoint_folder import step_of
from fcos.storage.run_folder import CHECKPOINTS, FORKS

# In the folder of a run, its index; in that of a checkpoint, its manifest.
OBJECTS = "objects.json"


class StoredObject(BaseModel):
    """An object by its name below the folder of its record."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    size: int
    sha256: str

    @classmethod
    def of(cls, name: str, data: bytes) -> "StoredObject":
        """Return the record of an object with this content."""
        return cls(name=name, size=len(data), sha256=hashlib.sha256(data).hexdigest())

    def matches(self, data: bytes) -> bool:
        """Return whether a content is that of the record."""
        return StoredObject.of(self.name, data) == self


class StoredCheckpoint(BaseModel):
    """A checkpoint in the index of its run: the folder, and the digest of the checkpoint's own manifest.json."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    # Such as checkpoints/step_00000250.
    folder: str
    digest: str = ""

    @property
    def step(self) -> int:
        """The step that it was saved after."""
        return step_of(Path(self.folder))

    @property
    def is_fork(self) -> bool:
        """Whether it is kept for other trainings."""
        return self.folder.startswith(f"{FORKS}/")


class CheckpointObjects(BaseModel):
    """The manifest of a checkpoint: it is whole where every object matches."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    objects: tuple[StoredObject, ...]


class RunIndex(BaseModel):
    """What a bucket holds of a run."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    checkpoints: tuple[StoredCheckpoint, ...] = ()
    files: tuple[StoredObject, ...] = ()

    def file(self, name: str) -> StoredObject | None:
        """Return the record of a file, None where it has none."""
        return next((each for each in self.files if each.name == name), None)

    def checkpoint(self, folder: str) -> StoredCheckpoint | None:
        """Return the entry of a checkpoint's folder, None where it has none."""
        return next((each for each in self.checkpoints if each.folder == folder), None)

    @property
    def own(self) -> list[StoredCheckpoint]:
        """The checkpoints that the run goes on from, the newest first."""
        return sorted((each for each in self.checkpoints if not each.is_fork), key=lambda each: -each.step)

    def with_files(self, files: "dict[str, StoredObject | None]") -> "RunIndex":
        """Return the index with other records of some files, None for one that is gone."""
        merged: dict[str, StoredObject | None] = {each.name: each for each in self.files}
        merged |= files
        return self.model_copy(update={"files": tuple(each for each in merged.values() if each is not None)})

    def with_checkpoint(self, added: StoredCheckpoint) -> "RunIndex":
        """Return the index with a checkpoint, in place of one in the same folder."""
        return self.without([added.folder]).model_copy(
            update={"checkpoints": (*self.without([added.folder]).checkpoints, added)}
        )

    def without(self, folders: "list[str]") -> "RunIndex":
        """Return the index without some checkpoints."""
        kept = tuple(each for each in self.checkpoints if each.folder not in folders)
        return self.model_copy(update={"checkpoints": kept})


def read_index(run: Objects) -> tuple[RunIndex, bool]:
    """Return the index of a run, and whether it was there; without one, what a listing shows of its checkpoints.

    Raises BucketError.
    """
    data = run.read_if_there(OBJECTS)
    if data is not None:
        try:
            return RunIndex.model_validate_json(data), True
        except ValidationError:
            # Written over by something else; what it listed may be whole.
            pass
    return RunIndex(checkpoints=tuple(_listed(run))), False


def _listed(run: Objects) -> list[StoredCheckpoint]:
    """Return the checkpoints whose manifests a listing shows."""
    found = []
    for kind in (CHECKPOINTS, FORKS):
        for name in run.list(kind):
            folder, _, last = name.rpartition("/")
            if last == OBJECTS and folder.rpartition("_")[2].isdecimal():
                found.append(StoredCheckpoint(folder=folder))
    return found


def read_manifest(checkpoint: Objects) -> CheckpointObjects | None:
    """Return the manifest of a checkpoint, None where there is none that can be read; raises BucketError."""
    data = checkpoint.read_if_there(OBJECTS)
    try:
        return None if data is None else CheckpointObjects.model_validate_json(data)
    except ValidationError:
        return None


def to_bytes(record: BaseModel) -> bytes:
    """Return a record as the content of an object."""
    return record.model_dump_json(indent=1).encode()
