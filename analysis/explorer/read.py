"""Read the evaluations of a sweep's finished trials from the store."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from analysis.explorer.structures import DetectionSet, Evaluations, RunKey, Truth, make_detection_set
from analysis.formatting import join_words
from analysis.reader.evaluation import read_evaluation
from analysis.reader.sweep import Sweep, Trial
from fcos.annotations.annotations import Annotations
from fcos.annotations.coco_results import CocoResults
from fcos.errors import DataError
from fcos.evaluation.saved.saved_evaluation import EvaluationIndex, SavedEvaluation, parse_evaluation

MAX_NAMED = 6


def read_evaluations(
    sweep: Sweep, arms: Sequence[str], seeds: Sequence[int], baseline: str | None
) -> tuple[Evaluations | None, list[str]]:
    """Return the evaluations of the finished trials, None without any, and notes on those that are left out.

    All are against one ground truth, that of the first trial; arms and seeds come in the given order.
    """
    order = {arm: index for index, arm in enumerate(arms)}
    trials = sorted(sweep.finished, key=lambda trial: (trial.arm != baseline, order[trial.arm], trial.seed))
    first: SavedEvaluation | None = None
    detections: dict[RunKey, DetectionSet] = {}
    missing: list[str] = []
    notes: list[str] = []
    for trial in trials:
        saved = _read(sweep, trial, missing, notes)
        if saved is None:
            continue
        first = first or saved
        if not _is_same_truth(saved.index, first.index):
            notes.append(f"{trial.label} was evaluated against other annotations: its images are not compared.")
            continue
        detections[trial.arm, trial.seed] = to_detection_set(saved.results, len(saved.annotations))
    notes += _note_missing(missing, len(trials))
    if first is None:
        return None, notes
    kept = {(trial.arm, trial.seed): trial for trial in trials if (trial.arm, trial.seed) in detections}
    return (
        Evaluations(
            truth=to_truth(first.annotations),
            arms=tuple(arms),
            seeds=tuple(seeds),
            baseline=baseline,
            trials=kept,
            detections=detections,
        ),
        notes,
    )


def _note_missing(missing: Sequence[str], num_trials: int) -> list[str]:
    """Return what cannot be computed for trials without an evaluation."""
    if not missing:
        return []
    if len(missing) == num_trials:
        return [
            "The store has no evaluation of these trials (runs of older versions saved none): what changed on single "
            "images, and all tables by class, size and crowding, cannot be computed."
        ]
    more = [f"{len(missing) - MAX_NAMED} more"] if len(missing) > MAX_NAMED else []
    named = join_words([*missing[:MAX_NAMED], *more])
    return [f"Without an evaluation in the store, and so in no table below the metrics: {named}."]


def _read(sweep: Sweep, trial: Trial, missing: list[str], notes: list[str]) -> SavedEvaluation | None:
    files = read_evaluation(sweep.uri, trial.run_id)
    if files is None:
        missing.append(trial.label)
        return None
    try:
        # The path is for messages alone.
        return parse_evaluation(files, Path(f"evaluation of run {trial.run_id}"))
    except DataError as error:
        notes.append(f"{trial.label}: {error}; its images are not compared.")
        return None


def _is_same_truth(one: EvaluationIndex, other: EvaluationIndex) -> bool:
    return (one.annotations_sha256, one.classes) == (other.annotations_sha256, other.classes)


def to_truth(annotations: Annotations) -> Truth:
    """Return the boxes of annotations as they were evaluated."""
    return Truth(
        image_ids=annotations.image_ids,
        names=annotations.names,
        sizes=annotations.sizes,
        classes=annotations.classes,
        offsets=annotations.offsets,
        boxes=_to_corners(annotations.xywh),
        labels=annotations.labels,
        areas=annotations.areas,
        crowd=annotations.crowd,
    )


def to_detection_set(results: CocoResults, num_images: int) -> DetectionSet:
    """Return COCO results as detections sorted by image and score."""
    return make_detection_set(num_images, results.image, _to_corners(results.xywh), results.label, results.scores)


def _to_corners(xywh: np.ndarray) -> np.ndarray:
    return np.column_stack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]])
