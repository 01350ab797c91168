"""Masks of objects as small bitmaps in the frames of their boxes, read where model.assignment.positives=mask."""

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

from fcos.config.choices import BoxConvention
from fcos.data.annotations import Annotations
from fcos.data.array_cache import FOLDER, keep_arrays, load_arrays
from fcos.data.coco_file import KIND, unpacked
from fcos.data.reading import read_bytes
from fcos.data.synthetic import visible_shapes
from fcos.errors import DataError

# Cells of a bitmap in either axis; each has the pixel at its center.
SIDE: Final = 32
# Fewer masks are read as fast as they are found in the cache folder.
LEAST_MASKS: Final = 1 << 10
REPORT_EVERY: Final = 1 << 10
ASKED: Final = "model.assignment.positives=mask"

Count = Callable[[int, int], None]
Runs = NDArray[np.int64]


def with_masks(
    annotations: Annotations, box_convention: BoxConvention, cache: Path | None, count: Count | None = None
) -> Annotations:
    """The same annotations with the masks of their file's `segmentation`: polygons or run lengths.

    A bitmap is made for the box as training sees it, clipped and in the corner convention: its cells are the pixels
    that lie at their centers, row by row, eight to a byte. An object without a segmentation counts as its whole box,
    and so does one that is not trained on. Kept in the cache folder by what they are made of; `count` is told how many
    objects are done, of how many.
    Raises DataError for a segmentation that cannot be understood, and where no object has one.
    """
    many = len(annotations.boxes) >= LEAST_MASKS
    kept = cache / FOLDER / f"{_key(annotations, box_convention)}.kept" if cache is not None and many else None
    found = None if kept is None else load_arrays(kept)
    if found is None:
        found = _read(annotations, box_convention, count)
        if kept is not None:
            keep_arrays(found, kept)
    masks, given = found["masks"], found["given"]
    _require_any(annotations, given)
    return replace(annotations, masks=masks, notes=(*annotations.notes, *_notes(annotations, masks, given)))


def with_drawn_masks(annotations: Annotations, box_convention: BoxConvention) -> Annotations:
    """The same annotations of drawn shapes, with the pixels where each is seen; bitmaps as `with_masks` makes them."""
    bitmaps = np.ones((len(annotations.boxes), SIDE, SIDE), dtype=bool)
    for index, (height, width) in enumerate(annotations.sizes.tolist()):
        rows = range(annotations.offsets[index], annotations.offsets[index + 1])
        names = [annotations.classes[annotations.labels[row]] for row in rows]
        seen = visible_shapes(names, annotations.xywh[rows].astype(np.int64), (height, width))
        for number, row in enumerate(rows):
            y, x = _pixels(annotations.boxes[row], (height, width), box_convention)
            bitmaps[row] = seen[np.ix_(y, x)] == number
    return replace(annotations, masks=_packed(bitmaps))


def bitmaps(masks: UInt8[np.ndarray, "K bytes"]) -> Bool[np.ndarray, "K S S"]:
    """Masks as annotations hold them, cell by cell."""
    return np.unpackbits(masks, axis=1).reshape(-1, SIDE, SIDE).view(bool)


def _packed(cells: Bool[np.ndarray, "K S S"]) -> UInt8[np.ndarray, "K bytes"]:
    return np.packbits(cells.reshape(len(cells), SIDE * SIDE), axis=1)


def _key(annotations: Annotations, box_convention: BoxConvention) -> str:
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


def _read(annotations: Annotations, box_convention: BoxConvention, count: Count | None) -> dict[str, NDArray[Any]]:
    """The packed masks, and which objects have a segmentation."""
    entries = _entries(annotations)
    total = len(annotations.boxes)
    masks = np.full((total, SIDE * SIDE // 8), 255, dtype=np.uint8)
    given = np.zeros(total, dtype=bool)
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
            masks[row], given[row] = np.packbits(_look_up(runs, y, x, height)), True
        if count is not None and row % REPORT_EVERY == 0:
            count(row, total)
    if count is not None:
        count(total, total)
    return {"masks": masks, "given": given}


def _entries(annotations: Annotations) -> dict[int, tuple[int, dict[str, Any]]]:
    """Number and content of each annotation by its id."""
    path = annotations.path
    text = unpacked(read_bytes(path, KIND), path)
    if hashlib.sha256(text).hexdigest() != annotations.digest:
        raise DataError(f"{path}: was changed while it was read")
    return {entry["id"]: (number, entry) for number, entry in enumerate(from_json(text)["annotations"])}


def _runs(segmentation: Any, height: int, width: int) -> Runs | None:
    """How many pixels lie outside and inside in turn, column by column; None for no segmentation.

    Raises ValueError in words that follow the entry's name.
    """
    if segmentation is None or segmentation == []:
        return None
    if isinstance(segmentation, dict):
        return _of_run_lengths(segmentation, height, width)
    if not isinstance(segmentation, list):
        raise ValueError(f"is a JSON {type(segmentation).__name__}; it must be a list of polygons or run lengths")
    for polygon in segmentation:
        if not isinstance(polygon, list) or len(polygon) % 2:
            raise ValueError(f"holds {_shown(polygon)}; each polygon must be a list [x1, y1, x2, y2, ...]")
        for values, side in ((polygon[::2], width), (polygon[1::2], height)):
            # pycocotools walks along every edge, however long; comparing leaves out NaN.
            if not all(type(value) in (int, float) and -side <= value <= 2 * side for value in values):
                rule = f"finite numbers, at most one image of {width}x{height} away"
                raise ValueError(f"holds {_shown(polygon)}; coordinates must be {rule}")
    # Of two points or fewer nothing is inside; pycocotools would take them for a box.
    polygons = [polygon for polygon in segmentation if len(polygon) >= 6]
    if not polygons:
        return np.array([height * width])
    merged = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    return np.array(toUncompressedRLE([merged])[0]["counts"], dtype=np.int64)


def _of_run_lengths(segmentation: dict[str, Any], height: int, width: int) -> Runs:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [height, width]:
        raise ValueError(f"has size={_shown(size)}; it must be [height, width] of the image, [{height}, {width}]")
    if isinstance(counts, str):
        try:
            counts = toUncompressedRLE([{"size": size, "counts": counts}])[0]["counts"]
        except (RuntimeError, ValueError):
            raise ValueError(
                f"has counts={_shown(counts)}, which are no run lengths as pycocotools writes them"
            ) from None
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError(f"has counts={_shown(counts)}; they must be a text or a list of whole numbers, 0 or more")
    if sum(counts) != height * width:
        raise ValueError(f"has counts of {sum(counts)} pixels; the image has {height * width}")
    return np.array(counts, dtype=np.int64)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _pixels(
    box: Float32[np.ndarray, " 4"], size: tuple[int, int], box_convention: BoxConvention
) -> tuple[Int64[np.ndarray, " S"], Int64[np.ndarray, " S"]]:
    """Row and column of the pixels at the centers of a box's cells; size: (height, width) of the image."""
    x1, y1, x2, y2 = box.astype(np.float64)
    share = (np.arange(SIDE) + 0.5) / SIDE
    # Inclusive corners are numbers of pixels, plain ones lie between pixels.
    shift = 0.0 if box_convention == "plain" else 0.5
    y, x = (
        np.floor(low + share * (high - low) + shift).clip(0, side - 1).astype(np.int64)
        for low, high, side in ((y1, y2, size[0]), (x1, x2, size[1]))
    )
    return y, x


def _look_up(
    runs: Runs, y: Int64[np.ndarray, " S"], x: Int64[np.ndarray, " S"], height: int
) -> Bool[np.ndarray, "S S"]:
    """Whether the pixels at these rows and columns lie inside."""
    places = x[None, :] * height + y[:, None]
    inside: Bool[np.ndarray, "S S"] = np.searchsorted(np.cumsum(runs), places, side="right") % 2 == 1
    return inside


def _require_any(annotations: Annotations, given: Bool[np.ndarray, " M"]) -> None:
    boxes = int(annotations.trainable.sum())
    if boxes and not given.any():
        raise DataError(
            f"{annotations.path}: none of the {boxes} boxes in use has a segmentation, and {ASKED} needs masks; "
            "give annotations with masks, or leave positives=box"
        )


def _notes(
    annotations: Annotations, masks: UInt8[np.ndarray, "M bytes"], given: Bool[np.ndarray, " M"]
) -> tuple[str, ...]:
    found = {
        "without a segmentation count as their whole box": annotations.trainable & ~given,
        f"whose segmentation covers none of their {SIDE} x {SIDE} cells have no location": given & ~masks.any(axis=1),
    }
    return tuple(f"{annotations.path.name}: {rows.sum()} boxes {what}" for what, rows in found.items() if rows.any())
