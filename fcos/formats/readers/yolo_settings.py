"""The classes and splits that a YOLO folder declares: data.yaml, or a list of names beside the labels."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

import yaml

from fcos.errors import DataError
from fcos.formats.listing import Listing
from fcos.formats.split_names import SPLIT_WORDS
from fcos.formats.structures import Remarks, SplitName

NAME_LISTS: Final = ("classes.txt", "obj.names", "classes.names")


@dataclass(frozen=True)
class YoloSettings:
    """Names by class number, the images of each split where the file has them, and whether labels have keypoints."""

    file: PurePosixPath
    names: tuple[str, ...]
    # Folders of images, or lists of them; empty where the folder's layout decides.
    splits: Mapping[SplitName, tuple[PurePosixPath, ...]]
    keypoints: bool = False


def find_settings(listing: Listing) -> PurePosixPath | None:
    """Return the file that declares the classes, or None.

    Raises DataError where several could be meant.
    """
    for candidates in (_yaml_files(listing), [file for file in listing.files if file.name.lower() in NAME_LISTS]):
        if len(candidates) > 1:
            depth = min(len(file.parts) for file in candidates)
            candidates = [file for file in candidates if len(file.parts) == depth]
            contents = {listing.read(file, "list of classes") for file in candidates}
            candidates = candidates[:1] if len(contents) == 1 else candidates
        if len(candidates) > 1:
            listed = ", ".join(map(str, candidates))
            raise DataError(
                f"{listing.root}: several files declare classes for YOLO labels: {listed}; keep one of them"
            )
        if candidates:
            return candidates[0]
    return None


def read_settings(listing: Listing, file: PurePosixPath, remarks: Remarks) -> YoloSettings:
    """Read data.yaml or a list of names.

    Test images that are not there, which no training needs, are counted in the remarks: tools export the key without
    them. Raises DataError naming file, key and rule.
    """
    if file.suffix.lower() not in (".yaml", ".yml"):
        names = tuple(line.strip() for line in listing.read_text(file, "list of classes").splitlines() if line.strip())
        return YoloSettings(file, _checked(names, listing, file), {})
    values = _mapping(listing, file)
    assert values is not None, "found by its keys"
    splits: dict[SplitName, tuple[PurePosixPath, ...]] = {}
    for key, split in SPLIT_WORDS.items():
        given = values.get(key)
        if given:
            entries = given if isinstance(given, list) else [given]
            folders = _folders(listing, file, values, key, list(map(str, entries)), remarks)
            if folders:
                splits[split] = folders
    return YoloSettings(
        file, _checked(_names(values, listing, file), listing, file), splits, keypoints="kpt_shape" in values
    )


def _yaml_files(listing: Listing) -> list[PurePosixPath]:
    return [file for file in listing.with_suffix(".yaml", ".yml") if "names" in (_mapping(listing, file) or {})]


def _mapping(listing: Listing, file: PurePosixPath) -> Mapping[str, object] | None:
    """Return the keys of a YAML file, or None for what is no mapping."""
    try:
        values = yaml.safe_load(listing.read_text(file, "YAML file"))
    except yaml.YAMLError as error:
        raise DataError(f"{listing.root / file}: is no YAML ({' '.join(str(error).split())})") from None
    return {str(key): value for key, value in values.items()} if isinstance(values, dict) else None


def _names(values: Mapping[str, object], listing: Listing, file: PurePosixPath) -> tuple[str, ...]:
    names = values["names"]
    if isinstance(names, list):
        return tuple(map(str, names))
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        return tuple(str(names[number]) for number in range(len(names)))
    raise DataError(f"{listing.root / file}: names must be a list of classes, or classes by the numbers 0, 1, 2 ...")


def _checked(names: tuple[str, ...], listing: Listing, file: PurePosixPath) -> tuple[str, ...]:
    if not names:
        raise DataError(f"{listing.root / file}: declares no class")
    repeated = sorted({name for name in names if names.count(name) > 1 or not name.strip()})
    if repeated:
        raise DataError(f"{listing.root / file}: the class {repeated[0]!r} is declared twice or has no name")
    return names


def _folder(listing: Listing, file: PurePosixPath, values: Mapping[str, object], entry: str) -> PurePosixPath | None:
    """Return where the images of a split lie below the root, or None.

    Tools write paths of the machine that they ran on, and ../ where there is none: the longest end of the path that
    exists in the folder is taken. None where no part of it does.
    """
    known = {PurePosixPath(parent) for path in listing.files for parent in path.parents} | {*listing.files}
    parts = [part for part in re.split(r"[/\\]", entry) if part not in ("", ".", "..")]
    base = [part for part in re.split(r"[/\\]", str(values.get("path") or "")) if part not in ("", ".", "..")]
    for start in range(len(base) + 1):
        candidate = file.parent.joinpath(*base[start:], *parts)
        if candidate in known:
            return candidate
    for start in range(len(parts)):
        for folder in (file.parent, PurePosixPath()):
            if folder.joinpath(*parts[start:]) in known:
                return folder.joinpath(*parts[start:])
    return None


def _folders(
    listing: Listing,
    file: PurePosixPath,
    values: Mapping[str, object],
    key: str,
    entries: Sequence[str],
    remarks: Remarks,
) -> tuple[PurePosixPath, ...]:
    """Return where the images of a split lie; raises DataError for what is not there, but only counts that of test."""
    found = {entry: _folder(listing, file, values, entry) for entry in entries}
    for entry in (entry for entry, folder in found.items() if folder is None):
        if SPLIT_WORDS[key] != "test":
            raise DataError(
                f"{listing.root / file}: {key}={entry}: no such folder or list of images below {listing.root}; "
                "mend the path, or remove the key to go by the names of the folders"
            )
        remarks.add(f"test images that {file} names are not there", entry)
    return tuple(folder for folder in found.values() if folder is not None)
