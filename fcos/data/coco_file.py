"""The content of a COCO json file, every entry of it validated."""

import gzip
import hashlib
import json
import re
import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy.typing import NDArray
from pydantic_core import from_json

from fcos.data.array_cache import FOLDER, keep_arrays, load_arrays
from fcos.data.reading import read_bytes
from fcos.errors import DataError


@dataclass(frozen=True)
class CocoFile:
    """Images and categories in order of their ids, annotations in the file's order.

    `image` and `label` are positions among the images and the categories; `xywh` and `areas` are pixels.
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
    # sha256 of the JSON text, packed or not.
    digest: str


def parse_coco_file(content: bytes, path: Path) -> CocoFile:
    """The content of a COCO json or json.gz file; iscrowd defaults to 0 and area to w * h.

    Raises DataError naming the file and the entry for anything that cannot be understood.
    """
    text = unpacked(content, path)
    sections = _sections(text, path)
    image_ids, names, sizes = _images(sections["images"], path)
    category_ids, classes = _categories(sections["categories"], path)
    entries = sections["annotations"]
    ids = _integers(entries, "id", "annotations", path)
    _unique(ids, "annotations", path)
    return CocoFile(
        image_ids=image_ids,
        names=names,
        sizes=sizes,
        category_ids=category_ids,
        classes=classes,
        ids=ids,
        image=_positions(entries, "image_id", image_ids, "images", path),
        label=_positions(entries, "category_id", category_ids, "categories", path),
        xywh=_boxes(entries, path),
        areas=_areas(entries, path),
        crowd=_crowd(entries, path),
        digest=hashlib.sha256(text).hexdigest(),
    )


def unpacked(content: bytes, path: Path) -> bytes:
    """The JSON text of a file, packed or not; raises DataError for broken gzip data."""
    try:
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: the gzip data are broken ({error})") from None


def _sections(text: bytes, path: Path) -> dict[str, Any]:
    try:
        # Twice as fast as the json module, which matters for COCO's half gigabyte.
        content = from_json(text)
    except ValueError as error:
        raise DataError(f"{path}: is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a JSON {type(content).__name__}; COCO format is an object")
    for name in ("images", "annotations", "categories"):
        if name not in content:
            raise DataError(f"{path}: has no section '{name}'; COCO format needs images, annotations and categories")
        section = content[name]
        if not isinstance(section, list) or not all(isinstance(entry, dict) for entry in section):
            raise DataError(f"{path}: section '{name}' must be a list of objects")
        if not section and name != "annotations":
            raise DataError(f"{path}: section '{name}' is empty")
    return content


def _column(entries: list[dict[str, Any]], key: str, section: str, path: Path) -> list[Any]:
    try:
        return [entry[key] for entry in entries]
    except KeyError:
        lacking = next(number for number, entry in enumerate(entries) if key not in entry)
        raise DataError(f"{path}: {_name(entries, lacking, section)} has no '{key}'") from None


def _name(entries: list[dict[str, Any]], number: int, section: str) -> str:
    """How messages call an entry: by its id, and its image where it has one."""
    entry = entries[number]
    name = f"{section}[{number}] (id {entry['id']}" if "id" in entry else f"{section}[{number}] (no id"
    return name + (f", image_id {entry['image_id']})" if "image_id" in entry else ")")


def _integers(entries: list[dict[str, Any]], key: str, section: str, path: Path) -> Int64[np.ndarray, " N"]:
    values = _column(entries, key, section, path)
    # One pass over the types is much faster than a loop, and numpy would take 1.5 or "7" without a word.
    if set(map(type, values)) - {int} or (values and max(map(abs, values)) >= 2**63):
        number, value = next(
            (number, value) for number, value in enumerate(values) if type(value) is not int or abs(value) >= 2**63
        )
        raise DataError(f"{path}: {_name(entries, number, section)}: {key}={value!r} must be a whole number")
    return np.array(values, dtype=np.int64)


def _unique(ids: NDArray[np.int64], section: str, path: Path) -> None:
    values, counts = np.unique(ids, return_counts=True)
    if len(values) < len(ids):
        twice = values[counts > 1]
        more = f" (and {len(twice) - 1} more)" if len(twice) > 1 else ""
        raise DataError(f"{path}: {section} ids must be unique; {twice[0]} is given more than once{more}")


def _images(
    entries: list[dict[str, Any]], path: Path
) -> tuple[Int64[np.ndarray, " N"], tuple[str, ...], Int64[np.ndarray, "N 2"]]:
    ids = _integers(entries, "id", "images", path)
    _unique(ids, "images", path)
    sizes = np.stack([_integers(entries, side, "images", path) for side in ("height", "width")], axis=1)
    if (sizes < 1).any():
        number = int(np.flatnonzero((sizes < 1).any(axis=1))[0])
        height, width = sizes[number]
        raise DataError(f"{path}: {_name(entries, number, 'images')}: size {width}x{height} must be at least 1x1")
    names = _column(entries, "file_name", "images", path)
    for number, name in enumerate(names):
        if not _stays_inside(name):
            entry = _name(entries, number, "images")
            raise DataError(f"{path}: {entry}: file_name={name!r} must be a path below the image folder")
    order = np.argsort(ids)
    return ids[order], tuple(names[i] for i in order), sizes[order]


def _stays_inside(name: Any) -> bool:
    """Whether a file name, read as either system would read it, stays below the folder it is joined to."""
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        return False
    parts = re.split(r"[/\\]", name)
    return parts[0] != "" and ".." not in parts and not re.match(r"[A-Za-z]:", name)


def _categories(entries: list[dict[str, Any]], path: Path) -> tuple[Int64[np.ndarray, " C"], tuple[str, ...]]:
    ids = _integers(entries, "id", "categories", path)
    _unique(ids, "categories", path)
    names = _column(entries, "name", "categories", path)
    for number, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise DataError(f"{path}: {_name(entries, number, 'categories')}: name={name!r} must be a text")
        if names.index(name) != number:
            raise DataError(f"{path}: {_name(entries, number, 'categories')}: the name {name!r} is given twice")
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
        # Comparing leaves out NaN and infinities, and integers that no float can hold.
        if not (
            isinstance(value, list)
            and len(value) == 4
            and all(type(side) in (int, float) and abs(side) < 1e300 for side in value)
        ):
            name = _name(entries, number, "annotations")
            raise DataError(f"{path}: {name}: bbox={value!r} must be four finite numbers [x, y, width, height]")
    return np.array(values, dtype=np.float64)


def _areas(entries: list[dict[str, Any]], path: Path) -> Float64[np.ndarray, " M"]:
    values = [_area(entry) for entry in entries]
    for number, value in enumerate(values):
        if type(value) not in (int, float) or not 0 <= value < 1e300:
            name = _name(entries, number, "annotations")
            raise DataError(f"{path}: {name}: area={value!r} must be a finite number, 0 or more")
    return np.array(values, dtype=np.float64)


def _area(entry: dict[str, Any]) -> Any:
    _, _, width, height = entry["bbox"]
    if width <= 0 or height <= 0:
        # Such a box is dropped later; whatever stands for its area must not be called wrong here.
        return 0.0
    area = entry.get("area")
    return width * height if area is None else area


def _crowd(entries: list[dict[str, Any]], path: Path) -> Bool[np.ndarray, " M"]:
    values = [entry.get("iscrowd", 0) for entry in entries]
    for number, value in enumerate(values):
        if value not in (0, 1):
            raise DataError(f"{path}: {_name(entries, number, 'annotations')}: iscrowd={value!r} must be 0 or 1")
    return np.array(values, dtype=bool)


def _positions(
    entries: list[dict[str, Any]], key: str, known: NDArray[np.int64], section: str, path: Path
) -> Int64[np.ndarray, " M"]:
    """Where the id that each entry refers to stands among the known ones, which rise."""
    ids = _integers(entries, key, "annotations", path)
    found = np.clip(np.searchsorted(known, ids), 0, len(known) - 1).astype(np.int64)
    lost = np.flatnonzero(known[found] != ids)
    if len(lost):
        number = int(lost[0])
        more = f" (and {len(lost) - 1} more like it)" if len(lost) > 1 else ""
        name = _name(entries, number, "annotations")
        raise DataError(f"{path}: {name}: {key}={ids[number]} is not among the {section}{more}")
    return found


# What messages call the file.
KIND = "annotation file"
# Files below this many bytes are parsed as fast as found.
LEAST_BYTES = 1 << 20
# Fields that are no arrays, as JSON in one array of bytes.
WORDS = ("names", "classes", "digest")


def read_coco_file(path: Path, cache: Path | None) -> CocoFile:
    """As `parse_coco_file`, from the cache folder where this very content was parsed before; None keeps nothing.

    Kept by the content of the file and by the code that parses it. What does not read back whole is parsed anew, and
    so is everything where the folder cannot be written. Raises DataError naming the file and the entry.
    """
    content = read_bytes(path, KIND)
    if cache is None or len(content) < LEAST_BYTES:
        return parse_coco_file(content, path)
    kept = cache / FOLDER / f"{_key(content)}.kept"
    found = _load(kept)
    if found is None:
        found = parse_coco_file(content, path)
        _keep(found, kept)
    return found


def _key(content: bytes) -> str:
    key = hashlib.sha256(content)
    key.update(hashlib.sha256(Path(__file__).read_bytes()).digest())
    return key.hexdigest()[:32]


def _load(kept: Path) -> CocoFile | None:
    columns = load_arrays(kept)
    if columns is None:
        return None
    words = json.loads(columns.pop("words").tobytes())
    names, classes = tuple(words["names"]), tuple(words["classes"])
    return CocoFile(**columns, names=names, classes=classes, digest=words["digest"])


def _keep(file: CocoFile, kept: Path) -> None:
    words = {name: getattr(file, name) for name in WORDS}
    columns = {item.name: getattr(file, item.name) for item in fields(file) if item.name not in WORDS}
    keep_arrays({"words": np.frombuffer(json.dumps(words).encode(), dtype=np.uint8), **columns}, kept)
