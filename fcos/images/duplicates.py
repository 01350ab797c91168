"""Images that a data set has twice by content: within a split, and in training and validation."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Int64

from fcos.config.choices import Split
from fcos.errors import DataError
from fcos.images.image_files import FileStat
from fcos.storage.array_cache import CACHE_FOLDER, SUFFIX, load_arrays, save_arrays
from fcos.storage.reading import CountCallback, read_block, read_bytes

# Bytes in the middle of a file that distinguish most files of equal size without reading the rest.
BLOCK_BYTES: Final = 4096
REPORT_EVERY: Final = 256
# Examples in a note.
MAX_SHOWN: Final = 3


@dataclass(frozen=True)
class Duplicates:
    """Names of images whose files have the same content."""

    # Groups of different names of one content, by split.
    repeated: Mapping[Split, tuple[tuple[str, ...], ...]]
    # (name in val, name in train) of images of validation that are also trained on.
    shared: tuple[tuple[str, str], ...]


def duplicate_notes(
    splits: Mapping[Split, tuple[Path, Sequence[FileStat]]], cache: Path, on_count: CountCallback | None = None
) -> list[str]:
    """Return notes on images whose files have the same content; see `find_duplicates`."""
    found = find_duplicates(splits, cache, on_count)
    notes = [_repeated_note(split, groups) for split, groups in found.repeated.items() if groups]
    return [*notes, _shared_note(found.shared, len(splits["val"][1]))] if found.shared else notes


def find_duplicates(
    splits: Mapping[Split, tuple[Path, Sequence[FileStat]]], cache: Path, on_count: CountCallback | None = None
) -> Duplicates:
    """Return the images whose files have the same content, from the folder and the files of each split.

    Only files of equal size are read, at first a block of each; the result is cached while no file changes. A file
    that cannot be read counts as unique. Raises ReadError.
    """
    paths = {split: [str(folder.resolve() / stat[0]) for stat in stats] for split, (folder, stats) in splits.items()}
    stats = {
        path: stat
        for split, (_, split_stats) in splits.items()
        for path, stat in zip(paths[split], split_stats, strict=True)
    }
    contents = dict(zip(stats, _cached_contents(stats, cache, on_count).tolist(), strict=True))
    names = {split: [stat[0] for stat in split_stats] for split, (_, split_stats) in splits.items()}
    ids = {split: [contents[path] for path in split_paths] for split, split_paths in paths.items()}
    repeated = {split: _repeated(names[split], ids[split]) for split in splits}
    return Duplicates(repeated, _shared(names, ids) if {"train", "val"} <= set(splits) else ())


def _repeated(names: Sequence[str], ids: Sequence[int]) -> tuple[tuple[str, ...], ...]:
    """Return the groups of files of a split with one content; a name that is listed twice is no other file."""
    by_content: dict[int, list[str]] = defaultdict(list)
    for name, content in dict(zip(names, ids, strict=True)).items():
        by_content[content].append(name)
    return tuple(tuple(group) for group in by_content.values() if len(group) > 1)


def _shared(names: Mapping[Split, Sequence[str]], ids: Mapping[Split, Sequence[int]]) -> tuple[tuple[str, str], ...]:
    """Return the images of validation that are also trained on, with their names in both splits."""
    of_training = dict(zip(ids["train"], names["train"], strict=True))
    pairs = zip(names["val"], ids["val"], strict=True)
    return tuple((name, of_training[content]) for name, content in pairs if content in of_training)


def _repeated_note(split: Split, groups: Sequence[Sequence[str]]) -> str:
    count = sum(len(group) - 1 for group in groups)
    images = "1 image repeats" if count == 1 else f"{count} images repeat"
    return f"{split}: {images} the content of another under a name of its own: {_shown(map(' = '.join, groups))}"


def _shared_note(shared: Sequence[tuple[str, str]], total: int) -> str:
    return (
        f"warning: {len(shared)} of {total} val images are train images too, by content: "
        f"{_shown(f'val {name} = train {other}' for name, other in shared)}; the metrics of val are partly those of "
        "images that were trained on"
    )


def _shown(examples: Iterable[str]) -> str:
    listed = list(examples)
    return ", ".join(listed[:MAX_SHOWN]) + (", ..." if len(listed) > MAX_SHOWN else "")


def _cached_contents(
    stats: Mapping[str, FileStat], cache: Path, on_count: CountCallback | None
) -> Int64[np.ndarray, " N"]:
    """Return `_content_ids` of files, cached by paths, sizes and times."""
    text = json.dumps([[path, size, time] for path, (_, size, time) in stats.items()])
    cached = cache / CACHE_FOLDER / f"contents-{hashlib.sha256(text.encode()).hexdigest()[:32]}{SUFFIX}"
    arrays = load_arrays(cached)
    if arrays is None:
        arrays = {"ids": _content_ids(list(map(Path, stats)), [size for _, size, _ in stats.values()], on_count)}
        save_arrays(arrays, cached)
    ids: Int64[np.ndarray, " N"] = arrays["ids"]
    return ids


def _content_ids(
    paths: Sequence[Path], sizes: Sequence[int], on_count: CountCallback | None
) -> Int64[np.ndarray, " N"]:
    """Return a number for each file, equal where the contents are."""

    def read_middle(position: int) -> bytes:
        start = max(0, sizes[position] // 2 - BLOCK_BYTES // 2)
        return read_block(paths[position], start, BLOCK_BYTES, "image file")

    def read_whole(position: int) -> bytes:
        # The middle of a short file is the whole of it.
        return b"" if sizes[position] <= BLOCK_BYTES else read_bytes(paths[position], "image file")

    ids = np.arange(len(paths), dtype=np.int64)
    groups = _equal_groups(range(len(paths)), sizes.__getitem__)
    for read in (read_middle, read_whole):
        positions = [position for group in groups for position in group]
        digests = dict(zip(positions, _digests(read, positions, on_count), strict=True))
        groups = [part for group in groups for part in _equal_groups(group, digests.__getitem__)]
    for group in groups:
        ids[group] = group[0]
    return ids


def _equal_groups(positions: Iterable[int], key: Callable[[int], Hashable]) -> list[list[int]]:
    """Return the groups of at least two positions with the same key."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for position in positions:
        groups[key(position)].append(position)
    return [group for group in groups.values() if len(group) > 1]


def _digests(read: Callable[[int], bytes], positions: Sequence[int], on_count: CountCallback | None) -> Iterator[bytes]:
    """Yield the digest of what is read for each position."""

    def digest(position: int) -> bytes:
        try:
            return hashlib.sha256(read(position)).digest()
        except DataError:
            # Equal to no other.
            return str(position).encode()

    with ThreadPoolExecutor(8) as pool:
        for done, value in enumerate(pool.map(digest, positions), start=1):
            if on_count is not None and done % REPORT_EVERY == 0:
                on_count(done, len(positions))
            yield value
