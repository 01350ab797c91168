"""Masks of objects as small bitmaps in the frames of their boxes, for assignments by mask and pasted objects."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from faster_coco_eval.mask_api_new_cpp import toUncompressedRLE
from jaxtyping import Bool, Float32, Int64, UInt8
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pydantic_core import from_json

from fcos.annotations.annotations import Annotations
from fcos.annotations.coco_file import FILE_KIND
from fcos.annotations.json_text import json_text
from fcos.config.choices import BoxConvention
from fcos.data.synthetic import visible_shape_indices
from fcos.errors import DataError
from fcos.storage.array_cache import CACHE_FOLDER, SUFFIX, load_arrays, save_arrays
from fcos.storage.reading import read_bytes

# Cells of a bitmap per axis; each holds the value of the pixel at its center.
MASK_SIDE: Final = 32
# Fewer masks are read as fast as cached ones.
MIN_CACHED_MASKS: Final = 1 << 10
REPORT_EVERY: Final = 1 << 10
SETTINGS: Final = "model.assignment.positives=mask and data.augmentation.copy_paste"

CountCallback = Callable[[int, int], None]
Runs = NDArray[np.int64]


def add_masks(
    annotations: Annotations, box_convention: BoxConvention, cache: Path | None, on_count: CountCallback | None = None
) -> Annotations:
    """Return the annotations with the masks of their file's `segmentation`: polygons or run lengths.

    A bitmap covers the box as training sees it, clipped and in the box convention: its cells are the pixels at their
    centers, row by row, eight to a byte. An object without a segmentation, or that is not trained on, counts as its
    whole box. Large sets are cached by all that they depend on; `on_count` is called with the number of objects done.

    Raises DataError for a malformed segmentation, and where no object has one.
    """
    is_large = len(annotations.boxes) >= MIN_CACHED_MASKS
    cached = (
        cache / CACHE_FOLDER / f"{_key(annotations, box_convention)}{SUFFIX}"
        if cache is not None and is_large
        else None
    )
    arrays = None if cached is None else load_arrays(cached)
    if arrays is None:
        arrays = _read_masks(annotations, box_convention, on_count)
        if cached is not None:
            save_arrays(arrays, cached)
    masks, has_segmentation = arrays["masks"], arrays["has_segmentation"]
    _require_masks(annotations, masks, has_segmentation)
    return replace(annotations, masks=masks, notes=(*annotations.notes, *_notes(annotations, masks, has_segmentation)))


def add_synthetic_masks(annotations: Annotations, box_convention: BoxConvention) -> Annotations:
    """Return the annotations of rendered shapes with the masks of their visible pixels.

    The bitmaps are as in `add_masks`.
    """
    cells = np.ones((len(annotations.boxes), MASK_SIDE, MASK_SIDE), dtype=bool)
    for index, (height, width) in enumerate(annotations.sizes.tolist()):
        rows = range(annotations.offsets[index], annotations.offsets[index + 1])
        names = [annotations.classes[annotations.labels[row]] for row in rows]
        visible = visible_shape_indices(names, annotations.xywh[rows].astype(np.int64), (height, width))
        for number, row in enumerate(rows):
            y, x = _pixels(annotations.boxes[row], (height, width), box_convention)
            cells[row] = visible[np.ix_(y, x)] == number
    return replace(annotations, masks=_pack(cells))


def unpack_masks(masks: UInt8[np.ndarray, "K bytes"]) -> Bool[np.ndarray, "K S S"]:
    """Unpack the masks of annotations into boolean cells."""
    return np.unpackbits(masks, axis=1).reshape(-1, MASK_SIDE, MASK_SIDE).view(bool)


def _pack(cells: Bool[np.ndarray, "K S S"]) -> UInt8[np.ndarray, "K bytes"]:
    return np.packbits(cells.reshape(len(cells), MASK_SIDE * MASK_SIDE), axis=1)


def _key(annotations: Annotations, box_convention: BoxConvention) -> str:
    """Return the cache key: the digest of this module, the file, the box convention and the boxes."""
    parts = (
        annotations.digest.encode(),
        box_convention.encode(),
        annotations.ids.tobytes(),
        annotations.boxes.tobytes(),
    )
    key = hashlib.sha256(Path(__file__).read_bytes())
    for part in parts:
        key.update(hashlib.sha256(part).digest())
    return key.hexdigest()[:32]


def _read_masks(
    annotations: Annotations, box_convention: BoxConvention, on_count: CountCallback | None
) -> dict[str, NDArray[Any]]:
    """Return the packed masks, and which objects have a segmentation."""
    entries = _entries(annotations)
    total = len(annotations.boxes)
    masks = np.full((total, MASK_SIDE * MASK_SIDE // 8), 255, dtype=np.uint8)
    has_segmentation = np.zeros(total, dtype=bool)
    sizes = np.repeat(annotations.sizes, np.diff(annotations.offsets), axis=0)
    for row in np.flatnonzero(annotations.trainable).tolist():
        number, entry = entries[int(annotations.ids[row])]
        height, width = sizes[row].tolist()
        try:
            runs = _runs(entry.get("segmentation"), height, width)
        except ValueError as error:
            name = f"annotations[{number}] (id {entry['id']}, image_id {entry['image_id']})"
            raise DataError(f"{annotations.path}: {name}: segmentation {error}") from None
        if runs is not None:
            y, x = _pixels(annotations.boxes[row], (height, width), box_convention)
            masks[row], has_segmentation[row] = np.packbits(_is_inside(runs, y, x, height)), True
        if on_count is not None and row % REPORT_EVERY == 0:
            on_count(row, total)
    if on_count is not None:
        on_count(total, total)
    return {"masks": masks, "has_segmentation": has_segmentation}


def _entries(annotations: Annotations) -> dict[int, tuple[int, dict[str, Any]]]:
    """Return number and content of each annotation by its id."""
    path = annotations.path
    text = json_text(read_bytes(path, FILE_KIND), path)
    if hashlib.sha256(text).hexdigest() != annotations.digest:
        raise DataError(f"{path}: was changed while it was read")
    return {entry["id"]: (number, entry) for number, entry in enumerate(from_json(text)["annotations"])}


def _runs(segmentation: Any, height: int, width: int) -> Runs | None:
    """Return the lengths of alternating runs outside and inside, column by column; None without a segmentation.

    Polygons of fewer than three points, and run lengths without a pixel, enclose nothing and are no segmentation.
    Raises ValueError with a message that follows the entry's name.
    """
    if segmentation is None:
        return None
    if isinstance(segmentation, dict):
        runs = _decode_run_lengths(segmentation, height, width)
        return runs if runs[1::2].any() else None
    if not isinstance(segmentation, list):
        raise ValueError(f"is a JSON {type(segmentation).__name__}; it must be a list of polygons or run lengths")
    # pycocotools would interpret two points as a box.
    polygons = [polygon for polygon in map(_flat_polygon, segmentation) if len(polygon) >= 6]
    if not polygons:
        return None
    for polygon in polygons:
        for values, side in ((polygon[::2], width), (polygon[1::2], height)):
            # pycocotools walks along every edge, however long; the comparison excludes NaN.
            if not all(type(value) in (int, float) and -side <= value <= 2 * side for value in values):
                rule = f"finite numbers, at most one image of {width}x{height} away"
                raise ValueError(f"holds {_shorten(polygon)}; coordinates must be {rule}")
    merged = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    return np.array(toUncompressedRLE([merged])[0]["counts"], dtype=np.int64)


def _flat_polygon(polygon: Any) -> list[Any]:
    """Return a polygon as a flat list; empty for nested lists without a number, such as [[]]."""
    if isinstance(polygon, list) and all(isinstance(part, list) and not _flat_polygon(part) for part in polygon):
        return []
    if not isinstance(polygon, list) or len(polygon) % 2:
        raise ValueError(f"holds {_shorten(polygon)}; each polygon must be a list [x1, y1, x2, y2, ...]")
    return polygon


def _decode_run_lengths(segmentation: dict[str, Any], height: int, width: int) -> Runs:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [height, width]:
        raise ValueError(f"has size={_shorten(size)}; it must be [height, width] of the image, [{height}, {width}]")
    if isinstance(counts, str):
        try:
            counts = toUncompressedRLE([{"size": size, "counts": counts}])[0]["counts"]
        except (RuntimeError, ValueError):
            raise ValueError(
                f"has counts={_shorten(counts)}, which are no run lengths as pycocotools writes them"
            ) from None
    if not isinstance(counts, list) or not all(type(on_count) is int and on_count >= 0 for on_count in counts):
        raise ValueError(f"has counts={_shorten(counts)}; they must be a text or a list of whole numbers, 0 or more")
    if sum(counts) != height * width:
        raise ValueError(f"has counts of {sum(counts)} pixels; the image has {height * width}")
    return np.array(counts, dtype=np.int64)


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _pixels(
    box: Float32[np.ndarray, " 4"], size: tuple[int, int], box_convention: BoxConvention
) -> tuple[Int64[np.ndarray, " S"], Int64[np.ndarray, " S"]]:
    """Return row and column of the pixels at the centers of a box's cells.

    `size` is the image's (height, width).
    """
    x1, y1, x2, y2 = box.astype(np.float64)
    fraction = (np.arange(MASK_SIDE) + 0.5) / MASK_SIDE
    # Inclusive coordinates are pixel indices, plain ones lie between pixels.
    shift = 0.0 if box_convention == "plain" else 0.5
    y, x = (
        np.floor(low + fraction * (high - low) + shift).clip(0, side - 1).astype(np.int64)
        for low, high, side in ((y1, y2, size[0]), (x1, x2, size[1]))
    )
    return y, x


def _is_inside(
    runs: Runs, y: Int64[np.ndarray, " S"], x: Int64[np.ndarray, " S"], height: int
) -> Bool[np.ndarray, "S S"]:
    """Return whether the pixels at these rows and columns lie inside."""
    index = x[None, :] * height + y[:, None]
    inside: Bool[np.ndarray, "S S"] = np.searchsorted(np.cumsum(runs), index, side="right") % 2 == 1
    return inside


def _require_masks(
    annotations: Annotations, masks: UInt8[np.ndarray, "M bytes"], has_segmentation: Bool[np.ndarray, " M"]
) -> None:
    boxes = int(annotations.trainable.sum())
    if boxes and not (has_segmentation & masks.any(axis=1)).any():
        empty = " that covers a part of its box" if has_segmentation.any() else ""
        raise DataError(
            f"{annotations.path}: none of the {boxes} boxes in use has a segmentation{empty}, and {SETTINGS} need "
            "masks; give annotations with masks, or leave both settings out"
        )


def _notes(
    annotations: Annotations, masks: UInt8[np.ndarray, "M bytes"], has_segmentation: Bool[np.ndarray, " M"]
) -> tuple[str, ...]:
    problems = {
        "without a segmentation count as their whole box": annotations.trainable & ~has_segmentation,
        f"whose segmentation covers none of their {MASK_SIDE} x {MASK_SIDE} cells have no location": has_segmentation
        & ~masks.any(axis=1),
    }
    return tuple(
        f"{annotations.path.name}: {rows.sum()} boxes {problem}" for problem, rows in problems.items() if rows.any()
    )
