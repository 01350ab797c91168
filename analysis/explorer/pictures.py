"""Images of an explorer with truth and detections: those that changed most, as many as the page has room for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.explorer.changes import ImageChanges, compare_images
from analysis.explorer.page_data import BoxEntry, Change, DetectionEntry, Picture, to_script_json
from analysis.explorer.read import ComparedRuns
from analysis.explorer.run_results import DrawnDetections
from analysis.explorer.thumbnails import encode_thumbnail

MAX_PICTURES: Final = 300


@dataclass(frozen=True)
class PictureSource:
    """What pictures are made of. changes: by arm, None for the baseline and arms without a common seed."""

    runs: ComparedRuns
    changes: Sequence[ImageChanges | None]
    thumbnails: Mapping[int, bytes]


def make_picture_source(runs: ComparedRuns, thumbnails: Mapping[int, bytes]) -> PictureSource:
    """Compare every arm's images with the baseline's."""
    baseline = runs.evaluations.baseline
    changes = [
        None if baseline is None or arm == baseline else compare_images(runs.results, arm, baseline)
        for arm in runs.evaluations.arms
    ]
    return PictureSource(runs, changes, thumbnails)


def make_pictures(source: PictureSource, max_bytes: int) -> list[Picture]:
    """Return the images that changed most first, until they need `max_bytes` as JSON or are MAX_PICTURES."""
    pictures: list[Picture] = []
    size = 0
    for image in order_images(source)[:MAX_PICTURES]:
        picture = _make_picture(source, int(image))
        size += len(to_script_json(picture).encode())
        if size > max_bytes:
            break
        pictures.append(picture)
    return pictures


def order_images(source: PictureSource) -> NDArray[np.int64]:
    """Return all images: by the largest mean change of an arm that mends or spoils them, then by the lowest F1."""
    count = len(source.runs.evaluations.truth)
    largest = np.zeros(count)
    for changes in source.changes:
        if changes is not None:
            is_changed = changes.mended | changes.spoiled
            largest = np.maximum(largest, np.where(is_changed, np.abs(changes.mean), 0.0))
    mean_f1 = np.mean([run.image_f1 for run in source.runs.results.values()], axis=0)
    return np.lexsort((np.arange(count), mean_f1, -largest))


def _make_picture(source: PictureSource, image: int) -> Picture:
    evaluations, truth = source.runs.evaluations, source.runs.evaluations.truth
    annotations = truth.annotations
    rows = np.arange(annotations.offsets[image], annotations.offsets[image + 1])
    rows = rows[~truth.ignored[rows]]
    thumbnail = source.thumbnails.get(int(annotations.image_ids[image]))
    height, width = annotations.sizes[image].tolist()
    return Picture(
        name=annotations.names[image],
        width=width,
        height=height,
        thumbnail="" if thumbnail is None else encode_thumbnail(thumbnail),
        boxes=[_make_box(annotations.xywh[row], int(annotations.labels[row])) for row in rows],
        f1=[[_get_f1(source, arm, seed, image) for seed in evaluations.seeds] for arm in evaluations.arms],
        changes=[None if changes is None else _make_change(changes, image) for changes in source.changes],
        detections=[
            [_list_detections(source, arm, seed, image, rows) for seed in source.runs.shown_seeds]
            for arm in evaluations.arms
        ],
    )


def _make_box(xywh: NDArray[np.floating[Any]], label: int) -> BoxEntry:
    # Files may hold boxes far outside of any picture.
    left, top, width, height = np.clip(xywh.astype(np.float64), -1e6, 1e6).tolist()
    x1, y1 = round(left), round(top)
    return x1, y1, round(left + width) - x1, round(top + height) - y1, label


def _get_f1(source: PictureSource, arm: str, seed: int, image: int) -> float | None:
    run = source.runs.results.get((arm, seed))
    return None if run is None else float(run.image_f1[image])


def _make_change(changes: ImageChanges, image: int) -> Change:
    return Change(
        better=int(changes.num_better[image]),
        worse=int(changes.num_worse[image]),
        pairs=len(changes.seeds),
        mean=float(changes.mean[image]),
    )


def _list_detections(
    source: PictureSource, arm: str, seed: int, image: int, boxes: NDArray[np.int64]
) -> list[DetectionEntry] | None:
    """Return the detections of a run on an image that are counted, highest score first; None without the run."""
    run = source.runs.results.get((arm, seed))
    return None if run is None or run.drawn is None else list(_iterate_detections(run.drawn, image, boxes))


def _iterate_detections(drawn: DrawnDetections, image: int, boxes: NDArray[np.int64]) -> Iterator[DetectionEntry]:
    positions = {int(row): index for index, row in enumerate(boxes)}
    for row in range(*np.searchsorted(drawn.images, [image, image + 1]).tolist()):
        box = _make_box(drawn.xywh[row], int(drawn.labels[row]))
        yield *box, round(100 * float(drawn.scores[row])), positions.get(int(drawn.box[row]), -1)
