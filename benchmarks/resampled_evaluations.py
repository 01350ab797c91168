"""Real evaluations whose images are resampled: the average precision of trainings on many sets of images.

The images of an evaluation are the population. A set is as many of them, drawn with repetition; it is
resampled in turn, as a report does. The trainings are those of a sweep of the lab, or copies of published detections of
which each was changed by chance.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from analysis.stats.two_level import draw_image_weights
from analysis.stats.weighted_ap import compute_weighted_ap
from fcos.annotations.annotations import read_annotations
from fcos.annotations.coco_results import CocoResults, parse_coco_results
from fcos.evaluation.matches import Matches, match_detections
from fcos.evaluation.saved.saved_evaluation import read_evaluation
from fcos.storage.evaluation_files import INDEX

PAIR = "coco_eval_pair"
TRUTH, RESULTS = "instances_val2014_100.json", "instances_val2014_fakebbox100_results.json"


@dataclass(frozen=True)
class Change:
    """What sets a copy of detections apart from the others.

    lost: probability that a detection is left out. moved: deviation of position and size, as a share of the box's side.
    scored: deviation that is added to the logit of a score.
    """

    lost: float = 0.1
    moved: float = 0.05
    scored: float = 0.5


@dataclass(frozen=True)
class Trainings:
    """Matched detections of trainings of one configuration on the same images."""

    matches: tuple[Matches, ...]

    @property
    def num_images(self) -> int:
        """Number of images of the population."""
        return self.matches[0].num_images


def read_sweep(folder: Path) -> Trainings:
    """Return the saved evaluations of a sweep's trainings, one of each; all arms train and evaluate alike."""
    found = []
    for trial in sorted((folder / "trials").iterdir()):
        indices = sorted((trial / "evaluation").glob(f"**/{INDEX}"))
        if indices:
            evaluation = read_evaluation(indices[0].parent)
            found.append(match_detections(evaluation.annotations, evaluation.results))
    if not found:
        sys.exit(f"{folder}: holds no saved evaluation; a finished noise floor has them")
    return Trainings(tuple(found))


def change_coco(data: Path, number: int, change: Change) -> Trainings:
    """Return changed copies of pycocotools' own results on 100 images of COCO val2014."""
    annotations = read_annotations(data / PAIR / TRUTH)
    path = data / PAIR / RESULTS
    results = parse_coco_results(path.read_bytes(), path, annotations)
    # Other copies for another change: the pools of two arms have no training in common.
    rng = np.random.default_rng([number, round(1000 * change.moved)])
    copies = [change_results(results, change, rng) for _ in range(number)]
    return Trainings(tuple(match_detections(annotations, copy) for copy in copies))


def change_results(results: CocoResults, change: Change, rng: np.random.Generator) -> CocoResults:
    """Return a copy of detections, changed by chance."""
    kept = rng.random(len(results)) >= change.lost
    corner, side = np.split(results.xywh[kept], 2, axis=1)
    corner = corner + side * rng.normal(0, change.moved, corner.shape)
    side = side * np.exp(rng.normal(0, change.moved, side.shape))
    scores = np.clip(results.scores[kept], 1e-3, 1 - 1e-3)
    logits = np.log(scores / (1 - scores)) + rng.normal(0, change.scored, len(scores))
    return replace(
        results,
        image=results.image[kept],
        label=results.label[kept],
        xywh=np.hstack([corner, side]),
        scores=1 / (1 + np.exp(-logits)),
    )


def draw_sets(num_images: int, sets: int, resamples: int) -> list[np.ndarray]:
    """Return for each set how often each image of the population occurs in it and in its resamples.

    Each is (images, 1 + resamples); the first column is the set itself.
    """
    rng = np.random.default_rng(0)
    of_positions = draw_image_weights(num_images, resamples)
    drawn = []
    for _ in range(sets):
        weights = np.zeros_like(of_positions)
        np.add.at(weights, rng.integers(0, num_images, num_images), of_positions)
        drawn.append(weights)
    return drawn


def compute_ap(trainings: Trainings, sets: Sequence[np.ndarray], name: str) -> np.ndarray:
    """Return the AP of each training on each set and its resamples: (sets, trainings, 1 + resamples)."""
    table = np.empty((len(sets), len(trainings.matches), sets[0].shape[1]))
    for number, weights in enumerate(sets):
        for training, matches in enumerate(trainings.matches):
            # A class of which the set has no box counts for nothing.
            table[number, training] = np.nanmean(compute_weighted_ap(matches, weights), axis=(0, 1))
        if sys.stderr.isatty():
            print(f"\r{name}: {number + 1} of {len(sets)} image sets ", end="", flush=True, file=sys.stderr)
    return table
