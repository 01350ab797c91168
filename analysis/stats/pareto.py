"""Pareto fronts: points that no other point beats in every metric, and how sure that is over seeds."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# Seeds drawn with replacement, the same for all points.
RESAMPLES = 1000


def find_front(values: Floats, modes: Sequence[str]) -> NDArray[np.bool_]:
    """Return which points are on the front: none is as good in every metric and better in one.

    values: (..., points, metrics), finite. modes: the better end of each metric, max or min.
    """
    signed = values * np.array([1.0 if mode == "max" else -1.0 for mode in modes])
    ours, others = signed[..., :, None, :], signed[..., None, :, :]
    is_beaten = (others >= ours).all(axis=-1) & (others > ours).any(axis=-1)
    front: NDArray[np.bool_] = ~is_beaten.any(axis=-1)
    return front


def measure_front_shares(values: Floats, modes: Sequence[str]) -> Floats:
    """Return for each point the share of resamples of the seeds in which it is on the front; NaN with one seed.

    A seed is drawn for all points at once, as they share what it does. values: (points, seeds, metrics), finite.
    """
    num_points, num_seeds, _ = values.shape
    if num_seeds < 2:
        return np.full(num_points, np.nan)
    drawn = np.random.default_rng(0).integers(0, num_seeds, (RESAMPLES, num_seeds))
    # One resample after another: all at once would be as large as the square of the points.
    fronts = [find_front(values[:, seeds].mean(axis=1), modes) for seeds in drawn]
    return np.asarray(np.mean(fronts, axis=0), dtype=np.float64)
