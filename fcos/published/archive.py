"""Zip files whose bytes follow from their contents alone: write one, and read one without trusting it.

Entries are stored and not compressed, sorted, with one time and mode for all. So nothing can expand on reading, another
zlib gives the same bytes, and every byte of a file can be held against what its contents give.
"""

import shutil
import stat
import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final

from fcos.errors import DataError
from fcos.published.layout import MAX_BYTES, MAX_FILES, MAX_NAME_CHARS, explain_bad_name

# The earliest time that the format has.
TIME: Final = (1980, 1, 1, 0, 0, 0)
MODE: Final = stat.S_IFREG | 0o644
# Of Unix, to which the modes belong.
SYSTEM: Final = 3
# The record at the end of a zip file without a comment: signature, disks, entries, size and offset of the directory.
END: Final = struct.Struct("<4s4H2LH")
SIGNATURE: Final = b"PK\x05\x06"
# What stands before it in larger files, and names another such record, whose sizes count instead (zip64).
LOCATOR: Final = b"PK\x06\x07"
LOCATOR_BYTES: Final = 20
# Bytes that an entry's name takes beside its content: a header before it, and a line of the directory.
HEADERS: Final = 30 + 46
BLOCK: Final = 1 << 20


class ArchiveError(DataError):
    """An archive that is damaged, or is refused; the message names the file and what is wrong in it."""


def list_files(folder: Path) -> list[Path]:
    """Return the files below a folder by their names in an archive."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sorted(files, key=lambda path: path.relative_to(folder).as_posix())


def write_archive(folder: Path, top: str, file: Path) -> None:
    """Write the files of a folder as a zip file, below one folder `top`; the same files give the same bytes.

    Raises ArchiveError for names that such an archive may not have and for more than it can hold, and OSError.
    """
    files = list_files(folder)
    total = sum(path.stat().st_size for path in files)
    if len(files) > MAX_FILES or total + len(files) * (HEADERS + 2 * MAX_NAME_CHARS) > MAX_BYTES:
        raise ArchiveError(
            f"{file}: {len(files)} files of {total / 2**20:.0f} MiB are more than an archive may hold ({MAX_FILES}, "
            f"{MAX_BYTES >> 20} MiB); leave weights or pictures out"
        )
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
        for path in files:
            name = f"{top}/{path.relative_to(folder).as_posix()}"
            if reason := explain_bad_name(name):
                raise ArchiveError(f"{file}: {reason}")
            with path.open("rb") as source, archive.open(_make_info(name), "w") as target:
                shutil.copyfileobj(source, target, BLOCK)


def _make_info(name: str) -> zipfile.ZipInfo:
    # Without a size, of which zipfile adds 5 % before it holds it against the bound of the format.
    info = zipfile.ZipInfo(name, TIME)
    info.create_system, info.external_attr = SYSTEM, MODE << 16
    return info


def extract_archive(file: Path, folder: Path) -> Path:
    """Extract an archive into an empty folder; returns the folder within it that holds its files.

    Every byte of the file is compared with what its contents give, so that one that was changed anywhere is named.
    Raises ArchiveError for a damaged file, and, before anything is written, for one that write_archive never makes:
    names that lead elsewhere or hold markup, links and other special files, encrypted or compressed entries, twice the
    same name, more entries or bytes than an archive may have, bytes around them. Raises DataError where there is none.
    """
    first, last = _check_end(file)
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            top = _check_entries(file, infos)
            for info in infos:
                _extract(file, archive, info, folder)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise ArchiveError(
            f"{file}: bytes {first} to {last}: the directory of its entries is damaged ({error})"
        ) from None
    _compare_bytes(file, folder / top, infos)
    return folder / top


def _check_end(file: Path) -> tuple[int, int]:
    """Raise unless the last bytes are a plain directory's end, before the directory is read into memory.

    Returns the first and the last byte of the directory.
    """
    if not file.is_file():
        raise DataError(f"{file}: no such archive")
    size = file.stat().st_size
    with file.open("rb") as stream:
        stream.seek(max(0, size - END.size - LOCATOR_BYTES))
        last = stream.read(END.size + LOCATOR_BYTES)
    tail = last[-END.size :]
    if len(tail) < END.size:
        raise ArchiveError(f"{file}: is no archive (it has {size} bytes)")
    signature, *disks, _, entries, length, offset, comment = END.unpack(tail)
    if signature != SIGNATURE or comment:
        raise ArchiveError(
            f"{file}: byte {size - END.size} to its end: is no archive as publish.py writes it: damaged, cut off, with "
            "bytes behind its end, or packed by another program"
        )
    where = f"{file}: byte {size - END.size} to its end"
    if size > MAX_BYTES:
        raise ArchiveError(f"{file}: has more than {MAX_BYTES} bytes")
    if entries > MAX_FILES or length > MAX_FILES * (HEADERS + MAX_NAME_CHARS):
        raise ArchiveError(f"{where}: has more than {MAX_FILES} entries")
    if last[: -END.size].startswith(LOCATOR):
        raise ArchiveError(
            f"{file}: byte {size - len(last)}: names a second end of the directory (zip64), which publish.py never "
            "writes, and sizes may be other ones there"
        )
    if any(disks) or offset + length + END.size != size:
        raise ArchiveError(f"{where}: is not the end of its directory; damaged")
    return offset, offset + length - 1


def _check_entries(file: Path, infos: Sequence[zipfile.ZipInfo]) -> str:
    """Raise for what write_archive never makes; return the folder that all entries are in."""
    if not infos:
        raise ArchiveError(f"{file}: holds no files")
    # The end of the directory may have named less.
    if len(infos) > MAX_FILES:
        raise ArchiveError(f"{file}: has more than {MAX_FILES} entries")
    seen: set[str] = set()
    for info in infos:
        reason = explain_bad_name(info.orig_filename) or explain_bad_name(info.filename) or _explain_bad_entry(info)
        if not reason and info.filename.lower() in seen:
            reason = f"{info.filename} is there twice"
        if reason:
            raise ArchiveError(f"{file}: {reason}")
        seen.add(info.filename.lower())
    # Entries that overlap would be more together than the file.
    if sum(info.file_size for info in infos) > file.stat().st_size:
        raise ArchiveError(f"{file}: its entries have more bytes than the file")
    tops = sorted({info.filename.partition("/")[0] for info in infos})
    if len(tops) > 1:
        raise ArchiveError(f"{file}: has the folders {tops[0]} and {tops[1]}, and an archive has one")
    return tops[0]


def _explain_bad_entry(info: zipfile.ZipInfo) -> str:
    name, mode = info.filename, info.external_attr >> 16
    if info.flag_bits & 0x1:
        return f"{name} is encrypted"
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        return f"{name} is compressed; publish.py stores its entries as they are, so that nothing can expand"
    if stat.S_ISLNK(mode):
        return f"{name} is a link"
    if info.is_dir() or mode != MODE or info.external_attr & 0xFFFF:
        return f"{name} is no plain file (mode {mode:o})"
    if info.flag_bits or info.extra or info.comment or info.date_time != TIME:
        return f"{name} has flags, a time or further data that publish.py does not write; damaged, or packed again"
    return ""


def _extract(file: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, folder: Path) -> None:
    path = folder.joinpath(*info.filename.split("/"))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with archive.open(info) as source, path.open("xb") as target:
            shutil.copyfileobj(source, target, BLOCK)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, struct.error) as error:
        raise ArchiveError(f"{file}: {info.filename} is damaged ({error})") from None


def _compare_bytes(file: Path, folder: Path, infos: Sequence[zipfile.ZipInfo]) -> None:
    """Raise unless the file has, byte for byte, what its contents give."""
    again = folder.parent / ".again.zip"
    write_archive(folder, folder.name, again)
    try:
        with file.open("rb") as stream, again.open("rb") as other:
            position = _find_difference(stream, other)
    finally:
        again.unlink()
    if position is not None:
        before = [info for info in infos if info.header_offset <= position]
        where = (
            f"at or behind the header of {max(before, key=lambda info: info.header_offset).filename}" if before else ""
        )
        raise ArchiveError(
            f"{file}: byte {position}, {where or 'before its first entry'}, is not what its contents give; damaged, or "
            "packed by another program"
        )


def _find_difference(first: IO[bytes], second: IO[bytes]) -> int | None:
    """Return the position of the first byte in which two files differ, None where they are the same."""
    position = 0
    for ours, theirs in _read_blocks(first, second):
        if ours != theirs:
            equal = next((i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), None)
            return position + (min(len(ours), len(theirs)) if equal is None else equal)
        position += len(ours)
    return None


def _read_blocks(first: IO[bytes], second: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    while (ours := first.read(BLOCK)) or ours == b"":
        theirs = second.read(BLOCK)
        if not ours and not theirs:
            return
        yield ours, theirs
