"""RO-Crate metadata of an archive: what it is, and the SHA-256 and size of every file in it."""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from fcos.errors import DataError
from fcos.published.archive import ArchiveError, extract_archive, list_files
from fcos.published.layout import METADATA, REPORT_HTML, REPORT_JSON
from fcos.published.records import ArchiveHeader, read_record
from fcos.published.texts import check_texts

# RO-Crate 1.1, https://w3id.org/ro/crate/1.1
SPECIFICATION: Final = "https://w3id.org/ro/crate/1.1"
MEDIA_TYPES: Final = {
    ".json": "application/json",
    ".csv": "text/csv",
    ".html": "text/html",
    ".txt": "text/plain",
    ".md": "text/markdown",
    ".png": "image/png",
    ".gz": "application/gzip",
    ".safetensors": "application/octet-stream",
}


@dataclass(frozen=True)
class CrateFacts:
    """What the metadata name beside the files. started: milliseconds since 1970. commit: of the code, "" if unknown."""

    header: ArchiveHeader
    started: int
    claim: str
    commit: str
    license: str


@dataclass(frozen=True)
class _File:
    """A file of an archive, as the metadata describe it."""

    name: str
    size: int
    media_type: str
    sha256: str

    @classmethod
    def of(cls, path: Path, folder: Path) -> "_File":
        name = path.relative_to(folder).as_posix()
        return cls(name, path.stat().st_size, MEDIA_TYPES[path.suffix], _digest(path))

    def to_entity(self) -> dict[str, Any]:
        return {
            "@id": self.name,
            "@type": "File",
            "contentSize": str(self.size),
            "encodingFormat": self.media_type,
            "sha256": self.sha256,
        }


class _Entity(BaseModel):
    """An entity of the metadata, of which only files have a digest."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = Field(alias="@id")
    type: str | list[str] = Field(alias="@type")
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None


class _Metadata(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    graph: list[_Entity] = Field(alias="@graph")


def write_metadata(folder: Path, facts: CrateFacts) -> str:
    """Write the metadata of all files that a folder holds; returns the id of the archive."""
    header = facts.header
    files = [_File.of(path, folder) for path in list_files(folder) if path != folder / METADATA]
    graph = [
        {
            "@id": METADATA,
            "@type": "CreativeWork",
            "conformsTo": {"@id": SPECIFICATION},
            "about": {"@id": "./"},
        },
        _describe_dataset(facts, files),
        {
            "@id": "#report",
            "@type": "CreateAction",
            "name": "report of the sweep",
            "instrument": {"@id": "#fcos-lab"},
            "result": [{"@id": REPORT_HTML}, {"@id": REPORT_JSON}],
        },
        {
            "@id": "#fcos-lab",
            "@type": "SoftwareApplication",
            "name": "FCOS Lab",
            "version": header.version,
            **({"identifier": facts.commit} if facts.commit else {}),
        },
        *([{"@id": "#laboratory", "@type": "Organization", "name": header.laboratory}] if header.laboratory else []),
        *(file.to_entity() for file in files),
    ]
    text = json.dumps({"@context": f"{SPECIFICATION}/context", "@graph": graph}, indent=1, ensure_ascii=True)
    (folder / METADATA).write_bytes(f"{text}\n".encode())
    return compute_id(folder)


def _describe_dataset(facts: CrateFacts, files: Sequence[_File]) -> dict[str, Any]:
    header = facts.header
    return {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Results of the sweep {header.sweep}",
        "description": facts.claim or f"Plan, runs, detections and report of {header.sweep}",
        "datePublished": datetime.fromtimestamp(facts.started / 1000, UTC).date().isoformat(),
        "license": facts.license or "not given",
        "identifier": header.run_id,
        **({"creator": {"@id": "#laboratory"}} if header.laboratory else {}),
        "hasPart": [{"@id": file.name} for file in files],
        "mentions": {"@id": "#report"},
    }


def compute_id(folder: Path) -> str:
    """Return the SHA-256 of the metadata, which stands for the whole archive."""
    return _digest(folder / METADATA)


@contextmanager
def open_archive(file: Path) -> Iterator[Path]:
    """Extract an archive whose every file is intact into a temporary folder, which is yielded.

    Raises ArchiveError for one that is damaged or refused, DataError where it cannot be read or extracted here.
    """
    with ExitStack() as stack:
        try:
            temporary = stack.enter_context(tempfile.TemporaryDirectory())
            folder = extract_archive(file, Path(temporary))
            check_files(folder)
        except OSError as error:
            raise DataError(f"{file}: cannot be read and extracted here: {error}") from None
        yield folder


def check_files(folder: Path) -> int:
    """Return the number of files, after each was held against its digest in the metadata.

    Raises ArchiveError naming the files that differ, are missing or are not named, and a text or a picture that
    publish.py never writes (see check_texts).
    """
    check_texts([folder / METADATA])
    entities = read_record(folder / METADATA, _Metadata).graph
    named = {entity.id: entity.sha256 for entity in entities if entity.type == "File"}
    present = {path.relative_to(folder).as_posix(): path for path in list_files(folder) if path != folder / METADATA}
    problems = list(_compare(named, present))
    if problems:
        more = f", and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ArchiveError(f"{'; '.join(problems[:5])}{more}")
    check_texts(present.values())
    return len(present)


def _compare(named: dict[str, str | None], present: dict[str, Path]) -> Iterator[str]:
    for name in sorted({*named, *present}):
        if name not in present:
            yield f"{name[:200]!r} is named in {METADATA} and missing"
        elif name not in named:
            yield f"{name} is not named in {METADATA}"
        elif _digest(present[name]) != named[name]:
            yield f"{name} is not the file that {METADATA} names (its SHA-256 differs)"


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
