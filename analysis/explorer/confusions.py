"""Confusion matrices of the arms, with rare classes taken together."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.explorer.page_data import Confusion
from analysis.explorer.run_results import RunResults
from analysis.explorer.structures import Evaluations, RunKey, Truth

# More rows cannot be read.
MAX_CLASSES: Final = 20
OTHERS: Final = "other classes"


def make_confusions(evaluations: Evaluations, results: Mapping[RunKey, RunResults]) -> list[Confusion | None]:
    """Return the matrix of each arm over its seeds, None for arms without an evaluation."""
    labels, groups = group_classes(evaluations.truth)
    return [_make_confusion(arm, evaluations, results, labels, groups) for arm in evaluations.arms]


def group_classes(truth: Truth) -> tuple[list[str], NDArray[np.int64]]:
    """Return the names of the rows and the row of each class: the most frequent ones have a row of their own."""
    num_classes = len(truth.classes)
    if num_classes <= MAX_CLASSES:
        return list(truth.classes), np.arange(num_classes)
    counts = np.bincount(truth.labels[~truth.crowd], minlength=num_classes)
    own = np.sort(np.argsort(-counts, kind="stable")[: MAX_CLASSES - 1])
    groups = np.full(num_classes, len(own))
    groups[own] = np.arange(len(own))
    return [*(truth.classes[label] for label in own), OTHERS], groups


def _make_confusion(
    arm: str,
    evaluations: Evaluations,
    results: Mapping[RunKey, RunResults],
    labels: list[str],
    groups: NDArray[np.int64],
) -> Confusion | None:
    seeds = [index for index, seed in enumerate(evaluations.seeds) if (arm, seed) in results]
    if not seeds:
        return None
    runs = [results[arm, evaluations.seeds[index]] for index in seeds]
    # No box and no detection stay the last row and column.
    rows = np.append(groups, len(labels))
    counts = np.zeros((len(labels) + 1, len(labels) + 1, len(runs)), dtype=np.int64)
    for index, run in enumerate(runs):
        np.add.at(counts[..., index], (rows[:, None], rows), run.confusion)
    return Confusion(labels=labels, seeds=seeds, counts=counts.tolist())
