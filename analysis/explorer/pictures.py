"""Images of an explorer with truth and detections: those that changed most, as many as the page has room for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.explorer.changes import ImageChanges, compare_images
from analysis.explorer.page_data import BoxEntry, Change, DetectionEntry, Picture, to_script_json
from analysis.explorer.run_results import RunResults
from analysis.explorer.structures import Evaluations, RunKey
from analysis.explorer.thumbnails import encode_thumbnail

MAX_PICTURES: Final = 300
MAX_SHOWN_SEEDS: Final = 3
# Drawn of one image in one run.
MAX_DETECTIONS: Final = 50


@dataclass(frozen=True)
class PictureSource:
    """What pictures are made of. changes: by arm, None for the baseline and arms without a common seed."""

    evaluations: Evaluations
    results: Mapping[RunKey, RunResults]
    changes: Sequence[ImageChanges | None]
    thumbnails: Mapping[int, bytes]
    shown_seeds: Sequence[int]


def make_picture_source(
    evaluations: Evaluations, results: Mapping[RunKey, RunResults], thumbnails: Mapping[int, bytes]
) -> PictureSource:
    """Compare every arm's images with the baseline's, and choose the seeds whose detections are drawn."""
    baseline = evaluations.baseline
    changes = [
        None if baseline is None or arm == baseline else compare_images(results, arm, baseline)
        for arm in evaluations.arms
    ]
    arms = [arm for arm in evaluations.arms if any(of_arm == arm for of_arm, _ in results)]
    common = [seed for seed in evaluations.seeds if all((arm, seed) in results for arm in arms)]
    shown = (common or list(evaluations.seeds))[:MAX_SHOWN_SEEDS]
    return PictureSource(evaluations, results, changes, thumbnails, shown)


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
    count = len(source.evaluations.truth)
    largest = np.zeros(count)
    for changes in source.changes:
        if changes is not None:
            is_changed = changes.mended | changes.spoiled
            largest = np.maximum(largest, np.where(is_changed, np.abs(changes.mean), 0.0))
    mean_f1 = np.mean([run.image_f1 for run in source.results.values()], axis=0)
    return np.lexsort((np.arange(count), mean_f1, -largest))


def _make_picture(source: PictureSource, image: int) -> Picture:
    evaluations, truth = source.evaluations, source.evaluations.truth
    rows = np.arange(truth.offsets[image], truth.offsets[image + 1])
    rows = rows[~truth.crowd[rows]]
    thumbnail = source.thumbnails.get(int(truth.image_ids[image]))
    height, width = truth.sizes[image].tolist()
    return Picture(
        name=truth.names[image],
        width=width,
        height=height,
        thumbnail="" if thumbnail is None else encode_thumbnail(thumbnail),
        boxes=[_make_box(truth.boxes[row], int(truth.labels[row])) for row in rows],
        f1=[[_get_f1(source, arm, seed, image) for seed in evaluations.seeds] for arm in evaluations.arms],
        changes=[None if changes is None else _make_change(changes, image) for changes in source.changes],
        detections=[
            [_list_detections(source, arm, seed, image, rows) for seed in source.shown_seeds]
            for arm in evaluations.arms
        ],
    )


def _make_box(box: NDArray[np.float64], label: int) -> BoxEntry:
    # Files may hold boxes far outside of any picture.
    x1, y1, x2, y2 = (round(float(value)) for value in np.clip(box, -1e6, 1e6))
    return x1, y1, x2 - x1, y2 - y1, label


def _get_f1(source: PictureSource, arm: str, seed: int, image: int) -> float | None:
    run = source.results.get((arm, seed))
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
    run = source.results.get((arm, seed))
    return None if run is None else list(_iterate_detections(run, image, boxes))


def _iterate_detections(run: RunResults, image: int, boxes: NDArray[np.int64]) -> Iterator[DetectionEntry]:
    positions = {int(row): index for index, row in enumerate(boxes)}
    offsets = run.detections.offsets
    rows = np.arange(offsets[image], offsets[image + 1])
    for row in rows[run.kept[rows]][:MAX_DETECTIONS]:
        box = _make_box(run.detections.boxes[row], int(run.detections.labels[row]))
        yield *box, round(100 * float(run.detections.scores[row])), positions.get(int(run.matches.box[row]), -1)
