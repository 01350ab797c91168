"""Hold the annotations in an archive against a file of one's own."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from analysis.verification.evaluations import read_published_evaluation
from fcos.annotations.annotations import Annotations, arrange_annotations
from fcos.annotations.coco_file import read_coco_file
from fcos.published.trials import PublishedTrial

# Problems that are listed.
MOST = 5


def read_own_annotations(file: Path) -> Annotations:
    """Read COCO annotations of one's own; raises DataError for a file of another form."""
    return arrange_annotations(read_coco_file(file, cache=None), file, "plain")


def compare_annotations(trials: Sequence[PublishedTrial], own: Annotations) -> tuple[int, list[str]]:
    """Return how many images of each trial were compared at least, and what differs; raises DataError for a broken one.

    The images of the archive must be in the file, with the same size and the same boxes; the file may have more.
    """
    compared: dict[str, int] = {}
    problems: list[str] = []
    for trial in trials:
        if not trial.has_evaluation:
            continue
        evaluation = read_published_evaluation(trial)
        if evaluation.index.annotations_sha256 not in compared:
            theirs = evaluation.annotations
            compared[evaluation.index.annotations_sha256] = len(theirs)
            found = list(_iterate_differences(theirs, own))
            problems += [f"{trial.label}: {each}" for each in found[:MOST]]
            problems += [f"{trial.label}: and {len(found) - MOST} more images"] if len(found) > MOST else []
    return min(compared.values(), default=0), problems


def _iterate_differences(theirs: Annotations, own: Annotations) -> Iterator[str]:
    # Where crowds are boxes like others (data.crowds), the archive has none.
    has_crowds = bool(theirs.crowd.any())
    rows = {int(image_id): row for row, image_id in enumerate(own.image_ids)}
    for row, (image_id, name) in enumerate(zip(theirs.image_ids.tolist(), theirs.names, strict=True)):
        if image_id not in rows:
            yield f"image {image_id} ({name}) is not in the file"
        elif own.names[rows[image_id]] != name or (own.sizes[rows[image_id]] != theirs.sizes[row]).any():
            yield f"image {image_id} is {name} in the archive, and another name or size in the file"
        elif _list_boxes(theirs, row, has_crowds) != _list_boxes(own, rows[image_id], has_crowds):
            yield f"image {image_id} ({name}) has other boxes in the file"


def _list_boxes(annotations: Annotations, row: int, has_crowds: bool) -> list[tuple[float | str | bool, ...]]:
    """Return the boxes of an image by class, position and area, in an order of their own."""
    span = slice(annotations.offsets[row], annotations.offsets[row + 1])
    columns = (annotations.labels[span], annotations.xywh[span], annotations.areas[span], annotations.crowd[span])
    return sorted(
        (annotations.classes[int(label)], *np.asarray(xywh).tolist(), float(area), bool(crowd) and has_crowds)
        for label, xywh, area, crowd in zip(*columns, strict=True)
    )
