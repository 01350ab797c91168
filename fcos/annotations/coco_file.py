"""Parse a COCO json file and validate every entry."""

import hashlib
import json
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy.typing import NDArray

from fcos.annotations.json_text import json_text, parse_json
from fcos.errors import DataError
from fcos.storage.array_cache import CACHE_FOLDER, SUFFIX, load_arrays, save_arrays
from fcos.storage.reading import read_bytes


@dataclass(frozen=True)
class CocoFile:
    """The content of a COCO file: images and categories in order of their ids, annotations in the order of the file.

    `image` and `label` are positions among the images and the categories; `xywh` and `areas` are in pixels.
    """

    image_ids: Int64[np.ndarray, " N"]
    names: tuple[str, ...]
    # (height, width)
    sizes: Int64[np.ndarray, "N 2"]
    category_ids: Int64[np.ndarray, " C"]
    classes: tuple[str, ...]
    ids: Int64[np.ndarray, " M"]
    image: Int64[np.ndarray, " M"]
    label: Int64[np.ndarray, " M"]
    xywh: Float64[np.ndarray, "M 4"]
    areas: Float64[np.ndarray, " M"]
    crowd: Bool[np.ndarray, " M"]
    # sha256 of the JSON text after decompression, without a byte order mark.
    digest: str


def parse_coco_file(content: bytes, path: Path, max_bytes: int | None = None) -> CocoFile:
    """Parse a COCO json or json.gz file, whose text may have `max_bytes`.

    `iscrowd` defaults to 0 and `area` to w * h. Raises DataError naming the file and the entry for anything malformed.
    """
    text = json_text(content, path, max_bytes)
    sections = _sections(text, path)
    image_ids, names, sizes = _images(sections["images"], path)
    category_ids, classes = _categories(sections["categories"], path)
    entries = sections["annotations"]
    ids = _integers(entries, "id", "annotations", path)
    _require_unique(ids, "annotations", path)
    return CocoFile(
        image_ids=image_ids,
        names=names,
        sizes=sizes,
        category_ids=category_ids,
        classes=classes,
        ids=ids,
        image=_resolve_ids(entries, "image_id", image_ids, "images", path),
        label=_resolve_ids(entries, "category_id", category_ids, "categories", path),
        xywh=_boxes(entries, path),
        areas=_areas(entries, path),
        crowd=_crowd(entries, path),
        digest=hashlib.sha256(text).hexdigest(),
    )


def _sections(text: bytes, path: Path) -> dict[str, Any]:
    content = parse_json(text, path)
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a JSON {type(content).__name__}; COCO format is an object")
    for name in ("images", "annotations", "categories"):
        if name not in content:
            raise DataError(f"{path}: has no section '{name}'; COCO format needs images, annotations and categories")
        section = content[name]
        if not isinstance(section, list) or not all(isinstance(entry, dict) for entry in section):
            raise DataError(f"{path}: section '{name}' must be a list of objects")
        if not section and name != "annotations":
            hint = "; it names the classes, which are the same in each split" if name == "categories" else ""
            raise DataError(f"{path}: section '{name}' is empty{hint}")
    return content


def _column(entries: list[dict[str, Any]], key: str, section: str, path: Path) -> list[Any]:
    try:
        return [entry[key] for entry in entries]
    except KeyError:
        missing = next(number for number, entry in enumerate(entries) if key not in entry)
        raise DataError(f"{path}: {_entry_name(entries, missing, section)} has no '{key}'") from None


def _entry_name(entries: list[dict[str, Any]], number: int, section: str) -> str:
    """Return the name of an entry in messages: section, number, id, and image id if it has one."""
    entry = entries[number]
    name = f"{section}[{number}] (id {entry['id']}" if "id" in entry else f"{section}[{number}] (no id"
    return name + (f", image_id {entry['image_id']})" if "image_id" in entry else ")")


def _integers(entries: list[dict[str, Any]], key: str, section: str, path: Path) -> Int64[np.ndarray, " N"]:
    values = _column(entries, key, section, path)
    # One pass over the types is much faster than a loop; numpy would accept 1.5 or "7".
    if set(map(type, values)) - {int}:
        values = list(map(_without_fraction, values))
    if set(map(type, values)) - {int} or (values and max(map(abs, values)) >= 2**63):
        number, value = next(
            (number, value) for number, value in enumerate(values) if type(value) is not int or abs(value) >= 2**63
        )
        rule = _integer_rule(value)
        raise DataError(f"{path}: {_entry_name(entries, number, section)}: {key}={value!r} must be {rule}")
    return np.array(values, dtype=np.int64)


def _without_fraction(value: Any) -> Any:
    """Return a whole number that is written as 1.0 as an integer, and any other value as it is.

    Beyond 2**53 it may be the rounded form of another number.
    """
    return int(value) if type(value) is float and value.is_integer() and abs(value) < 2**53 else value


def _integer_rule(value: Any) -> str:
    """Return what a number must be that is refused, and the way out."""
    if type(value) is int:
        return "between -2**63 and 2**63; number the entries anew, and what refers to them"
    if isinstance(value, str) and value.strip().isdecimal():
        return f"a whole number, and is a text; write {int(value)} without quotes, and so for all others"
    return "a whole number"


def _require_unique(ids: NDArray[np.int64], section: str, path: Path) -> None:
    values, counts = np.unique(ids, return_counts=True)
    if len(values) < len(ids):
        duplicates = values[counts > 1]
        others = f" (and {len(duplicates) - 1} more)" if len(duplicates) > 1 else ""
        raise DataError(f"{path}: {section} ids must be unique; {duplicates[0]} is given more than once{others}")


def _images(
    entries: list[dict[str, Any]], path: Path
) -> tuple[Int64[np.ndarray, " N"], tuple[str, ...], Int64[np.ndarray, "N 2"]]:
    ids = _integers(entries, "id", "images", path)
    _require_unique(ids, "images", path)
    sizes = np.stack([_integers(entries, side, "images", path) for side in ("height", "width")], axis=1)
    if (sizes < 1).any():
        number = int(np.flatnonzero((sizes < 1).any(axis=1))[0])
        height, width = sizes[number]
        raise DataError(f"{path}: {_entry_name(entries, number, 'images')}: size {width}x{height} must be at least 1x1")
    names = _column(entries, "file_name", "images", path)
    for number, name in enumerate(names):
        if not is_below_folder(name):
            entry = _entry_name(entries, number, "images")
            raise DataError(f"{path}: {entry}: file_name={name!r} must be a path below the image folder")
    order = np.argsort(ids)
    return ids[order], tuple(names[i] for i in order), sizes[order]


def is_below_folder(name: Any) -> bool:
    """Return whether a file name stays below the folder it is joined to, on POSIX and on Windows."""
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        return False
    parts = re.split(r"[/\\]", name)
    return parts[0] != "" and ".." not in parts and not re.match(r"[A-Za-z]:", name)


def _categories(entries: list[dict[str, Any]], path: Path) -> tuple[Int64[np.ndarray, " C"], tuple[str, ...]]:
    ids = _integers(entries, "id", "categories", path)
    _require_unique(ids, "categories", path)
    names = _column(entries, "name", "categories", path)
    earlier: set[str] = set()
    for number, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise DataError(f"{path}: {_entry_name(entries, number, 'categories')}: name={name!r} must be a text")
        if name in earlier:
            raise DataError(f"{path}: {_entry_name(entries, number, 'categories')}: the name {name!r} is given twice")
        earlier.add(name)
    order = np.argsort(ids)
    return ids[order], tuple(names[i] for i in order)


def _boxes(entries: list[dict[str, Any]], path: Path) -> Float64[np.ndarray, "M 4"]:
    values = _column(entries, "bbox", "annotations", path)
    if not values:
        return np.zeros((0, 4), dtype=np.float64)
    try:
        boxes = np.array(values)
    except ValueError:
        boxes = np.array(None)
    if boxes.dtype.kind in "iuf" and boxes.shape == (len(values), 4) and np.isfinite(boxes).all():
        return boxes.astype(np.float64)
    for number, value in enumerate(values):
        # The comparison excludes NaN, infinities, and integers that no float can hold.
        if not (
            isinstance(value, list)
            and len(value) == 4
            and all(type(side) in (int, float) and abs(side) < 1e300 for side in value)
        ):
            name = _entry_name(entries, number, "annotations")
            raise DataError(f"{path}: {name}: bbox={value!r} must be four finite numbers [x, y, width, height]")
    return np.array(values, dtype=np.float64)


def _areas(entries: list[dict[str, Any]], path: Path) -> Float64[np.ndarray, " M"]:
    values = [_area(entry) for entry in entries]
    for number, value in enumerate(values):
        if not _is_finite(value) or (value < 0 and _has_size(entries[number])):
            name = _entry_name(entries, number, "annotations")
            raise DataError(f"{path}: {name}: area={value!r} must be a finite number, 0 or more")
    return np.array(values, dtype=np.float64)


def _area(entry: dict[str, Any]) -> Any:
    _, _, width, height = entry["bbox"]
    area = entry.get("area")
    # An empty box can have no right area; a negative one counts as COCO's evaluation does, which then ignores the box.
    return width * height if area is None or not (_has_size(entry) or _is_finite(area)) else area


def _has_size(entry: dict[str, Any]) -> bool:
    _, _, width, height = entry["bbox"]
    return bool(width > 0 and height > 0)


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300


def _crowd(entries: list[dict[str, Any]], path: Path) -> Bool[np.ndarray, " M"]:
    values = [entry.get("iscrowd", 0) for entry in entries]
    for number, value in enumerate(values):
        if value not in (0, 1):
            raise DataError(f"{path}: {_entry_name(entries, number, 'annotations')}: iscrowd={value!r} must be 0 or 1")
    return np.array(values, dtype=bool)


def _resolve_ids(
    entries: list[dict[str, Any]], key: str, known_ids: NDArray[np.int64], section: str, path: Path
) -> Int64[np.ndarray, " M"]:
    """Return the position of each entry's referenced id among the known ids, which are in ascending order."""
    ids = _integers(entries, key, "annotations", path)
    positions = np.clip(np.searchsorted(known_ids, ids), 0, len(known_ids) - 1).astype(np.int64)
    unknown = np.flatnonzero(known_ids[positions] != ids)
    if len(unknown):
        number = int(unknown[0])
        others = f" (and {len(unknown) - 1} more like it)" if len(unknown) > 1 else ""
        name = _entry_name(entries, number, "annotations")
        raise DataError(f"{path}: {name}: {key}={ids[number]} is not among the {section}{others}")
    return positions


# The name of the file in messages.
FILE_KIND = "annotation file"
# Smaller files are parsed as fast as a cached one is read.
MIN_CACHED_BYTES = 1 << 20
# Fields that are not arrays; cached as JSON in one array of bytes.
TEXT_FIELDS = ("names", "classes", "digest")


def read_coco_file(path: Path, cache: Path | None) -> CocoFile:
    """Parse a COCO file, or read the parsed content from the cache folder.

    With cache=None nothing is cached. The cache key is the content of the file and the code that parses it. Damaged
    cached files are parsed again, and so is everything where the folder cannot be written. Raises DataError naming the
    file and the entry.
    """
    content = read_bytes(path, FILE_KIND)
    if cache is None or len(content) < MIN_CACHED_BYTES:
        return parse_coco_file(content, path)
    cached = cache / CACHE_FOLDER / f"{_key(content)}{SUFFIX}"
    file = _load(cached)
    if file is None:
        file = parse_coco_file(content, path)
        _save(file, cached)
    return file


def _key(content: bytes) -> str:
    """Return the cache key: the digest of the content and of this module."""
    key = hashlib.sha256(content)
    key.update(hashlib.sha256(Path(__file__).read_bytes()).digest())
    return key.hexdigest()[:32]


def _load(cached: Path) -> CocoFile | None:
    columns = load_arrays(cached)
    if columns is None:
        return None
    texts = json.loads(columns.pop("texts").tobytes())
    names, classes = tuple(texts["names"]), tuple(texts["classes"])
    return CocoFile(**columns, names=names, classes=classes, digest=texts["digest"])


def _save(file: CocoFile, cached: Path) -> None:
    texts = {name: getattr(file, name) for name in TEXT_FIELDS}
    columns = {item.name: getattr(file, item.name) for item in fields(file) if item.name not in TEXT_FIELDS}
    save_arrays({"texts": np.frombuffer(json.dumps(texts).encode(), dtype=np.uint8), **columns}, cached)
