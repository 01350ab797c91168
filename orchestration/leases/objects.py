"""Objects of a shared folder, by name: what leases need of a file system, and no more than a bucket has too.

Neither file locks nor times of files are used: of the first hosts may be without, of the second clocks may differ.
"""

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Objects(Protocol):
    """Objects by name; all methods raise OSError where the storage does not answer."""

    def create(self, name: str, data: bytes) -> bool:
        """Create an object unless there is one; return False where there is another one."""
        ...

    def overwrite(self, name: str, data: bytes) -> None:
        """Write an object whole, which has one writer."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return the content of an object, None where there is none."""
        ...

    def names(self, folder: str) -> list[str]:
        """Return the names of the objects below a folder, without it."""
        ...

    def remove(self, name: str) -> None:
        """Remove an object, if there is one."""
        ...


@dataclass(frozen=True)
class FolderObjects:
    """Objects as files below a folder that all hosts see."""

    root: Path

    def create(self, name: str, data: bytes) -> bool:
        """Create an object unless there is one; return False where there is another one.

        The same content counts as created: the answer to an earlier attempt may have been lost. A process that is
        killed in between leaves a part of the content, which readers take for a record without any.
        """
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # The one operation that decides between hosts: a server grants it to one of them.
            with path.open("xb") as file:
                file.write(data)
        except FileExistsError:
            return self.read(name) == data
        return True

    def overwrite(self, name: str, data: bytes) -> None:
        """Write an object whole, which has one writer.

        It is not flushed to disk, which may take long beside checkpoints: other hosts see it when it is closed.
        """
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{uuid.uuid4().hex}")
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def read(self, name: str) -> bytes | None:
        """Return the content of an object, None where there is none."""
        try:
            return (self.root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def names(self, folder: str) -> list[str]:
        """Return the names of the objects below a folder, without it."""
        try:
            listed = [path.name for path in (self.root / folder).iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        # Those that begin with a dot are on their way to another name.
        return sorted(name for name in listed if not name.startswith("."))

    def remove(self, name: str) -> None:
        """Remove an object, if there is one."""
        (self.root / name).unlink(missing_ok=True)
