"""Objects in memory, as a bucket has them: for many commands of one process."""

from dataclasses import dataclass, field


@dataclass
class MemoryObjects:
    """Objects by name; `broken` are names that cannot be read or written."""

    content: dict[str, bytes] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    def create(self, name: str, data: bytes) -> bool:
        self._check(name)
        return self.content.setdefault(name, data) == data

    def overwrite(self, name: str, data: bytes) -> None:
        self._check(name)
        self.content[name] = data

    def read(self, name: str) -> bytes | None:
        self._check(name)
        return self.content.get(name)

    def names(self, folder: str) -> list[str]:
        self._check(folder)
        return sorted(name.removeprefix(f"{folder}/") for name in self.content if name.startswith(f"{folder}/"))

    def remove(self, name: str) -> None:
        self.content.pop(name, None)

    def _check(self, name: str) -> None:
        if name in self.broken:
            raise OSError(5, "Input/output error", name)
