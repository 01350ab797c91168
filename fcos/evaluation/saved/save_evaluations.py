"""Save the final detections of a training as COCO results, beside the annotations that they were evaluated against."""

import gzip
import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from pydantic_core import to_json

from fcos.annotations.annotations import Annotations
from fcos.annotations.coco_entries import CocoAnnotation, CocoCategory, CocoImage, CocoResult
from fcos.annotations.coco_results import CocoResults
from fcos.evaluation.coco import results_of
from fcos.evaluation.saved.saved_evaluation import EvaluationIndex
from fcos.storage.evaluation_files import ANNOTATIONS, FILES, INDEX, MAX_BYTES, MAX_TEXT_BYTES, RESULTS
from fcos.storage.files import write_atomically
from fcos.structures import Detections

# Entries that are in memory as Python objects at a time.
CHUNK = 4096
# Of zlib: of detections it takes half the time of 6, for 5 % more bytes.
COMPRESSION = 4


@dataclass(frozen=True)
class _Packed:
    """A compressed JSON text, and the digest of the text."""

    content: bytes
    sha256: str


@dataclass(frozen=True)
class SavedFiles:
    """Arm -> its files, and notes on evaluations that could not be saved."""

    files: dict[str, tuple[Path, ...]]
    notes: tuple[str, ...]


def save_evaluations(
    annotations: Annotations,
    detections: Mapping[str, Mapping[int, Detections]],
    folder: Path,
    *,
    data_digest: str,
    step: int,
    max_bytes: int = MAX_BYTES,
) -> SavedFiles:
    """Save the evaluation of each arm in folder/<arm>, or in the folder itself for the nameless arm.

    One that needs more than `max_bytes`, or that has numbers which are not finite, is left out with a note. The same
    detections give the same bytes. Raises OSError.
    """
    files: dict[str, tuple[Path, ...]] = {}
    notes: list[str] = []
    packed = _pack(_annotation_parts(annotations), max_bytes) if detections else None
    for arm, arm_detections in detections.items():
        results = results_of(annotations, arm_detections)
        room = max_bytes - len(packed.content) if packed else 0
        packed_results = _pack(_result_parts(annotations, results), room) if room > 0 and results.is_finite else None
        if packed is None or packed_results is None:
            notes.append(_note(arm, results, max_bytes))
            continue
        index = EvaluationIndex(
            step=step,
            data_digest=data_digest,
            classes=annotations.classes,
            images=len(annotations),
            detections=len(results),
            annotations_sha256=packed.sha256,
            results_sha256=packed_results.sha256,
        )
        contents = {
            ANNOTATIONS: packed.content,
            RESULTS: packed_results.content,
            INDEX: f"{index.model_dump_json(indent=1)}\n".encode(),
        }
        files[arm] = _write(folder / arm if arm else folder, contents)
    return SavedFiles(files, tuple(notes))


def _note(arm: str, results: CocoResults, max_bytes: int) -> str:
    reason = "its detections hold numbers that are not finite"
    if results.is_finite:
        limits = f"{max_bytes / 2**20:g} MiB compressed, or {MAX_TEXT_BYTES >> 20} MiB before"
        reason = f"with {len(results)} detections it needs more than {limits}"
    return (
        f"the evaluation{f' of {arm}' if arm else ''} is not saved: {reason}; what is more than its metrics cannot be "
        "computed from it again"
    )


def _write(folder: Path, contents: Mapping[str, bytes]) -> tuple[Path, ...]:
    """Write the files, the index last."""
    folder.mkdir(parents=True, exist_ok=True)
    # An index of an earlier attempt must not stand beside files of this one.
    (folder / INDEX).unlink(missing_ok=True)
    for name in FILES:
        write_atomically(folder / name, contents[name])
    return tuple(folder / name for name in FILES)


def _pack(parts: Iterable[bytes], max_bytes: int) -> _Packed | None:
    """Compress a text that comes in parts; None as soon as it has too many bytes, compressed or not."""
    digest, length, buffer = hashlib.sha256(), 0, io.BytesIO()
    # Without a name and a time, which would differ between two files of the same content.
    with gzip.GzipFile(filename="", fileobj=buffer, mode="wb", compresslevel=COMPRESSION, mtime=0) as file:
        for part in parts:
            file.write(part)
            digest.update(part)
            length += len(part)
            if length > MAX_TEXT_BYTES or buffer.tell() > max_bytes:
                return None
    return _Packed(buffer.getvalue(), digest.hexdigest()) if buffer.tell() <= max_bytes else None


def _result_parts(annotations: Annotations, results: CocoResults) -> Iterator[bytes]:
    """Yield the JSON text of COCO results."""
    yield from _list_parts(_results(annotations, results))
    yield b"\n"


def _annotation_parts(annotations: Annotations) -> Iterator[bytes]:
    """Yield the JSON text of a COCO file with all that an evaluation uses of the annotations."""
    info = {"description": "the validation annotations that results.json.gz was evaluated against"}
    yield b'{"info": ' + to_json(info)
    for section, entries in (
        ("images", _images(annotations)),
        ("categories", _categories(annotations)),
        ("annotations", _boxes(annotations)),
    ):
        yield f', "{section}": '.encode()
        yield from _list_parts(entries)
    yield b"}\n"


def _results(annotations: Annotations, results: CocoResults) -> Iterator[CocoResult]:
    category_ids = np.array(annotations.category_ids, dtype=np.int64)
    for start in range(0, len(results), CHUNK):
        rows = slice(start, start + CHUNK)
        images, categories = annotations.image_ids[results.image[rows]], category_ids[results.label[rows]]
        columns = (column.tolist() for column in (images, categories, results.xywh[rows], results.scores[rows]))
        for image_id, category_id, bbox, score in zip(*columns, strict=True):
            yield {"image_id": image_id, "category_id": category_id, "bbox": bbox, "score": score}


def _images(annotations: Annotations) -> Iterator[CocoImage]:
    columns = (annotations.image_ids.tolist(), annotations.names, annotations.sizes.tolist())
    for image_id, name, (height, width) in zip(*columns, strict=True):
        yield {"id": image_id, "file_name": name, "width": width, "height": height}


def _categories(annotations: Annotations) -> Iterator[CocoCategory]:
    for category_id, name in zip(annotations.category_ids, annotations.classes, strict=True):
        yield {"id": category_id, "name": name}


def _boxes(annotations: Annotations) -> Iterator[CocoAnnotation]:
    image_ids = np.repeat(annotations.image_ids, np.diff(annotations.offsets))
    category_ids = np.array(annotations.category_ids, dtype=np.int64)[annotations.labels]
    arrays = (annotations.ids, image_ids, category_ids, annotations.xywh, annotations.areas, annotations.crowd)
    for id_, image_id, category_id, bbox, area, crowd in zip(*(array.tolist() for array in arrays), strict=True):
        yield {
            "id": id_,
            "image_id": image_id,
            "category_id": category_id,
            "bbox": bbox,
            "area": area,
            "iscrowd": int(crowd),
        }


def _list_parts(entries: Iterable[object]) -> Iterator[bytes]:
    """Yield the text of a JSON list, an entry a line."""
    remaining, separator = iter(entries), b"\n"
    yield b"["
    while chunk := list(islice(remaining, CHUNK)):
        yield separator + b",\n".join(map(to_json, chunk))
        separator = b",\n"
    yield b"\n]"
