"""Read saved evaluations: detections and the annotations behind them, from which every metric follows again.

The files may come from a tracking store: they are bounded in size, validated entry by entry, and never unpickled.
"""

import hashlib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from fcos.annotations.annotations import Annotations, arrange_annotations
from fcos.annotations.categories import with_classes
from fcos.annotations.coco_file import parse_coco_file
from fcos.annotations.coco_results import CocoResults, parse_coco_results
from fcos.annotations.json_text import json_text
from fcos.errors import DataError
from fcos.storage.evaluation_files import ANNOTATIONS, INDEX, MAX_BYTES, MAX_TEXT_BYTES, RESULTS, EvaluationFiles
from fcos.storage.reading import file_stat, read_block

VERSION: Final = 1
_Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class EvaluationIndex(BaseModel):
    """The index of a saved evaluation: what its two other files hold, and their digests."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Literal[1] = VERSION
    # Of the training whose weights were evaluated.
    step: NonNegativeInt
    # Of the data that it was trained and evaluated on (see fcos.data.prepare.PreparedData).
    data_digest: str
    # In the order of the labels, which decides the last digit of means over classes.
    classes: tuple[str, ...]
    images: NonNegativeInt
    detections: NonNegativeInt
    # Of the JSON texts after decompression.
    annotations_sha256: _Sha256
    results_sha256: _Sha256


@dataclass(frozen=True)
class SavedEvaluation:
    """A saved evaluation, checked.

    `annotations` hold all that an evaluation uses; their boxes for training are clipped in the plain convention, and
    none has a mask.
    """

    index: EvaluationIndex
    annotations: Annotations
    results: CocoResults


def read_evaluation(folder: Path) -> SavedEvaluation:
    """Read the evaluation that a folder holds.

    Raises DataError where it is missing, too large, malformed, or where detections and annotations do not belong
    together; ReadError where another attempt may succeed.
    """
    if file_stat(folder / INDEX) is None:
        below = [path.parent for pattern in ("*", "*/*") for path in sorted(folder.glob(f"{pattern}/{INDEX}"))]
        hint = f"; below it: {', '.join(map(str, below[:5]))}" if below else ""
        raise DataError(f"{folder}: holds no saved evaluation ({INDEX} is missing){hint}")
    names = {"index": INDEX, "annotations": ANNOTATIONS, "results": RESULTS}
    content = {
        field.name: read_block(folder / names[field.name], 0, MAX_BYTES + 1, "file of a saved evaluation")
        for field in fields(EvaluationFiles)
    }
    return parse_evaluation(EvaluationFiles(**content), folder)


def parse_evaluation(files: EvaluationFiles, folder: Path) -> SavedEvaluation:
    """Parse the files of an evaluation; `folder` is where they come from, for messages.

    Raises DataError as `read_evaluation`.
    """
    if len(files.index) + len(files.annotations) + len(files.results) > MAX_BYTES:
        raise DataError(f"{folder}: has more than {MAX_BYTES >> 20} MiB, the most that a saved evaluation may have")
    index = _index(files.index, folder / INDEX)
    annotations = _annotations(files.annotations, folder / ANNOTATIONS, index)
    path = folder / RESULTS
    text = json_text(files.results, path, MAX_TEXT_BYTES)
    if hashlib.sha256(text).hexdigest() != index.results_sha256:
        raise DataError(f"{path}: are not the detections that {INDEX} names (results_sha256 differs)")
    results = parse_coco_results(text, path, annotations)
    if len(results) != index.detections:
        raise DataError(f"{path}: holds {len(results)} detections, and {INDEX} names {index.detections}")
    return SavedEvaluation(index, annotations, results)


def _index(content: bytes, path: Path) -> EvaluationIndex:
    try:
        return EvaluationIndex.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{path}: is not the index of a saved evaluation: {where or 'text'}: {first['msg']}") from None


def _annotations(content: bytes, path: Path, index: EvaluationIndex) -> Annotations:
    file = parse_coco_file(content, path, MAX_TEXT_BYTES)
    if file.digest != index.annotations_sha256:
        raise DataError(
            f"{path}: are not the annotations that the detections were evaluated against: their digest is "
            f"{file.digest[:12]}, that in {INDEX} {index.annotations_sha256[:12]}"
        )
    if sorted(file.classes) != sorted(index.classes) or len(file.names) != index.images:
        raise DataError(f"{path}: has other classes or another number of images than {INDEX} names")
    annotations = with_classes(arrange_annotations(file, path, "plain"), index.classes)
    return replace(annotations, notes=())
