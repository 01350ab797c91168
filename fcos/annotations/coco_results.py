"""Parse COCO results, the detections of a data set's images, and validate every entry."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np
from jaxtyping import Float64, Int64
from pydantic import Field, TypeAdapter, ValidationError

from fcos.annotations.annotations import Annotations
from fcos.errors import DataError

_Id = Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)]
_Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class _Entry:
    image_id: _Id
    category_id: _Id
    bbox: tuple[_Number, _Number, _Number, _Number]
    score: _Number


_ENTRIES: Final = TypeAdapter(list[_Entry])


@dataclass(frozen=True)
class CocoResults:
    """Detections in the order of the images; those of an image in the order of the file.

    `image` is ascending and, like `label`, a position among the images and the classes of the annotations that the
    results belong to. `xywh` is in pixels.
    """

    image: Int64[np.ndarray, " N"]
    label: Int64[np.ndarray, " N"]
    xywh: Float64[np.ndarray, "N 4"]
    scores: Float64[np.ndarray, " N"]

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def is_finite(self) -> bool:
        """Whether all boxes and scores are finite numbers."""
        return bool(np.isfinite(self.xywh).all() and np.isfinite(self.scores).all())

    @classmethod
    def empty(cls) -> "CocoResults":
        """Return results without any detection."""
        none = np.zeros(0, dtype=np.int64)
        return cls(none, none, np.zeros((0, 4)), np.zeros(0))


def parse_coco_results(text: bytes, path: Path, annotations: Annotations) -> CocoResults:
    """Parse the JSON text of COCO results that belong to these annotations; images without an entry are empty.

    Keys beside image_id, category_id, bbox and score are ignored. Raises DataError naming the file and the entry for
    anything malformed, for numbers that are not finite, and for ids that the annotations do not have.
    """
    try:
        entries = _ENTRIES.validate_json(text)
    except ValidationError as error:
        raise DataError(f"{path}: {_first_problem(error)}") from None
    if not entries:
        return CocoResults.empty()
    image_ids, category_ids = annotations.image_ids, np.array(annotations.category_ids, dtype=np.int64)
    image, unknown_image = _positions(np.array([entry.image_id for entry in entries]), image_ids)
    label, unknown_label = _positions(np.array([entry.category_id for entry in entries]), category_ids)
    for unknown, key, section in ((unknown_image, "image_id", "images"), (unknown_label, "category_id", "categories")):
        if len(unknown):
            number = int(unknown[0])
            others = f" (and {len(unknown) - 1} more like it)" if len(unknown) > 1 else ""
            given = f"{key}={getattr(entries[number], key)}"
            raise DataError(
                f"{path}: results[{number}]: {given} is not among the {section} of {annotations.path}{others}"
            )
    order = np.argsort(image, kind="stable")
    return CocoResults(
        image=image[order],
        label=label[order],
        xywh=np.array([entry.bbox for entry in entries], dtype=np.float64)[order],
        scores=np.array([entry.score for entry in entries], dtype=np.float64)[order],
    )


def _first_problem(error: ValidationError) -> str:
    """Return the first problem of a file, with the entry and the key that have it."""
    first = error.errors(include_url=False)[0]
    if not first["loc"]:
        return f"must be a list of COCO results ({first['msg']})"
    number, *keys = first["loc"]
    name = f"results[{number}]" + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    given = "" if first["type"] == "missing" else f", not {str(first['input'])[:40]}"
    return f"{name}: {first['msg']}{given}"


def _positions(
    ids: Int64[np.ndarray, " N"], known_ids: Int64[np.ndarray, " K"]
) -> tuple[Int64[np.ndarray, " N"], Int64[np.ndarray, " U"]]:
    """Return the position of each id among the known ones, which may be in any order, and the rows of unknown ids."""
    order = np.argsort(known_ids)
    nearest = np.clip(np.searchsorted(known_ids, ids, sorter=order), 0, len(known_ids) - 1)
    positions = order[nearest].astype(np.int64)
    return positions, np.flatnonzero(known_ids[positions] != ids).astype(np.int64)
