"""Notes on a conversion into COCO files, kept beside them, so that whoever reads the files learns what was left out."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from fcos.storage.files import write_atomically
from fcos.storage.reading import read_digest, read_model

CONVERSION: Final = "conversion.json"


class Conversion(BaseModel):
    """The content of the file: what was left out, changed or taken for granted, with counts."""

    model_config = ConfigDict(frozen=True)

    conversion_notes: tuple[str, ...]
    # sha256 of the converted files by name: what takes the place of one later comes from elsewhere.
    files: dict[str, str]


def write_conversion_notes(folder: Path, notes: Sequence[str], files: Iterable[Path]) -> None:
    """Write the notes beside the converted files, in place of earlier ones; raises OSError and DataError."""
    file = folder / CONVERSION
    if notes or file.exists():
        digests = {each.name: read_digest(each, "converted file") for each in files}
        write_atomically(file, Conversion(conversion_notes=tuple(notes), files=digests).model_dump_json(indent=1))


def read_conversion_notes(files: Iterable[Path]) -> tuple[str, ...]:
    """Return the notes on the conversions that annotation files come from, each once; none for files of other origin.

    Raises DataError and ReadError where they cannot be read.
    """
    notes: dict[str, None] = {}
    for file in files:
        notes |= dict.fromkeys(_notes_on(file))
    return tuple(notes)


def _notes_on(file: Path) -> tuple[str, ...]:
    # Of another program where it is no such record: it may use the same name.
    conversion = read_model(file.parent / CONVERSION, Conversion, "file of notes")
    if conversion is None or file.name not in conversion.files:
        return ()
    is_converted = read_digest(file, "annotation file") == conversion.files[file.name]
    return conversion.conversion_notes if is_converted else ()
