"""Evaluations on grids of whole pixels, where boxes, IoUs and scores often tie, and evaluations of repeated images."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from fcos.annotations.annotations import Annotations
from fcos.annotations.coco_results import CocoResults

NUM_CLASSES = 4


def tied_evaluation(seed: int, num_images: int = 6) -> tuple[Annotations, CocoResults]:
    """Return boxes of a few sizes and places, with crowds, negative areas and zero sizes; not every class has boxes.

    About half of the detections are boxes of the truth, moved by whole pixels. Their scores are of few levels.
    """
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 7, num_images)
    xywh = _boxes(rng, int(counts.sum()))
    # The last class has no box, the one before it may have crowds alone.
    labels = rng.integers(0, NUM_CLASSES - 1, len(xywh))
    crowd = (rng.random(len(xywh)) < 0.15) | (labels == NUM_CLASSES - 2) & (seed % 2 == 0)
    annotations = make_annotations(counts, xywh, labels, crowd)
    areas = np.where(rng.random(len(xywh)) < 0.05, -1.0, xywh[:, 2] * xywh[:, 3] * rng.choice([0.5, 1.0], len(xywh)))
    image = np.repeat(np.arange(num_images), counts)
    near = rng.choice(len(xywh), size=2 * len(xywh)) if len(xywh) else np.zeros(0, dtype=np.int64)
    far = rng.integers(0, num_images, rng.integers(0, 40))
    detected = np.concatenate([image[near], far])
    order = np.argsort(detected, kind="stable")
    moved = xywh[near] + rng.integers(-2, 3, (len(near), 4)) * (rng.random((len(near), 1)) < 0.7)
    detected_labels = np.concatenate([labels[near], rng.integers(0, NUM_CLASSES, len(far))])
    results = CocoResults(
        image=detected[order],
        label=detected_labels[order],
        xywh=np.concatenate([moved, _boxes(rng, len(far))])[order],
        scores=rng.integers(0, 8, len(order)) / 8,
    )
    return replace(annotations, areas=areas), results


def _boxes(rng: np.random.Generator, number: int) -> np.ndarray:
    corner, size = rng.choice([10, 12, 60, 64], (number, 2)), rng.choice([0, 4, 10, 20, 40, 100], (number, 2))
    return np.concatenate([corner, size], axis=1).astype(np.float64)


def make_annotations(counts: np.ndarray, xywh: np.ndarray, labels: np.ndarray, crowd: np.ndarray) -> Annotations:
    """Return annotations with so many boxes in each image."""
    return Annotations(
        path=Path("drawn"),
        image_ids=np.arange(len(counts)) + 7,
        names=tuple(map(str, range(len(counts)))),
        sizes=np.full((len(counts), 2), 200),
        classes=tuple("abcd"),
        category_ids=tuple(range(1, NUM_CLASSES + 1)),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes=np.zeros((len(xywh), 4), dtype=np.float32),
        labels=labels.astype(np.int64),
        trainable=~crowd,
        crowd=crowd,
        xywh=xywh,
        areas=xywh[:, 2] * xywh[:, 3],
        ids=np.arange(len(xywh)),
        notes=(),
        digest="",
    )


def without_ties(results: CocoResults, seed: int) -> CocoResults:
    """Return results with a score of its own for each detection."""
    scores = np.random.default_rng(seed).permutation(len(results)) / (len(results) + 1)
    return replace(results, scores=scores)


def repeat_images(
    annotations: Annotations, results: CocoResults, counts: np.ndarray
) -> tuple[Annotations, CocoResults]:
    """Return an evaluation in which each image occurs so many times, every copy as an image of its own."""
    images = np.repeat(np.arange(len(annotations)), counts)
    spans = [np.arange(annotations.offsets[image], annotations.offsets[image + 1]) for image in images]
    boxes = np.concatenate([np.zeros(0, dtype=np.int64), *spans])
    copies = make_annotations(
        np.array([len(span) for span in spans], dtype=np.int64),
        annotations.xywh[boxes],
        annotations.labels[boxes],
        annotations.crowd[boxes],
    )
    rows = [np.flatnonzero(results.image == image) for image in images]
    detected = np.concatenate([np.zeros(0, dtype=np.int64), *rows])
    copied = CocoResults(
        image=np.repeat(np.arange(len(images)), [len(of_image) for of_image in rows]),
        label=results.label[detected],
        xywh=results.xywh[detected],
        scores=results.scores[detected],
    )
    return replace(copies, areas=annotations.areas[boxes]), copied
