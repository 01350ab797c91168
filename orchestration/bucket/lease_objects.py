"""Leases in the bucket of the output, in place of a folder that all hosts see."""

from dataclasses import dataclass

from fcos.storage.bucket.objects import Objects


@dataclass(frozen=True)
class BucketObjects:
    """The objects of orchestration/leases/objects.py below an address; all methods raise BucketError, an OSError."""

    stored: Objects

    def create(self, name: str, data: bytes) -> bool:
        """Create an object unless there is one; return False where there is another one."""
        return self.stored.create(name, data)

    def overwrite(self, name: str, data: bytes) -> None:
        """Write an object whole, which has one writer."""
        self.stored.write(name, data)

    def read(self, name: str) -> bytes | None:
        """Return the content of an object, None where there is none."""
        return self.stored.read_if_there(name)

    def names(self, folder: str) -> list[str]:
        """Return the names of the objects below a folder, without it; the newest may be missing."""
        return [name.removeprefix(f"{folder}/") for name in self.stored.list(folder)]

    def remove(self, name: str) -> None:
        """Remove an object, if there is one."""
        self.stored.remove([name])
