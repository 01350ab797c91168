"""Notes on a conversion into COCO files, kept beside them, so that whoever reads the files learns what was left out."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from fcos.storage.files import write_atomically
from fcos.storage.reading import file_stat, read_bytes

CONVERSION: Final = "conversion.json"


class Conversion(BaseModel):
    """The content of the file: what was left out, changed or taken for granted, with counts."""

    model_config = ConfigDict(frozen=True)

    conversion_notes: tuple[str, ...]


def write_conversion_notes(folder: Path, notes: Sequence[str]) -> None:
    """Write the notes beside the converted files, in place of earlier ones; raises OSError."""
    file = folder / CONVERSION
    if notes or file.exists():
        write_atomically(file, Conversion(conversion_notes=tuple(notes)).model_dump_json(indent=1))


def read_conversion_notes(files: Iterable[Path]) -> tuple[str, ...]:
    """Return the notes on the conversions that annotation files come from, each once; none for files of other origin.

    Raises DataError and ReadError where they cannot be read.
    """
    notes: dict[str, None] = {}
    for folder in dict.fromkeys(file.parent for file in files):
        notes |= dict.fromkeys(_read(folder / CONVERSION))
    return tuple(notes)


def _read(file: Path) -> tuple[str, ...]:
    if file_stat(file) is None:
        return ()
    try:
        return Conversion.model_validate_json(read_bytes(file, "file of notes")).conversion_notes
    except ValidationError:
        # Of another program, which may use the same name.
        return ()
