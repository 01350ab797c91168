"""Images that an arm mends or spoils against the baseline in most seeds."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from analysis.explorer.run_results import RunResults
from analysis.explorer.structures import RunKey


@dataclass(frozen=True)
class ImageChanges:
    """F1 of each image in an arm minus that in the baseline, seed by seed; differences: [S, N]."""

    seeds: tuple[int, ...]
    differences: NDArray[np.float64]

    @property
    def num_better(self) -> NDArray[np.int64]:
        """In how many seeds an image is better, [N]."""
        count: NDArray[np.int64] = (self.differences > 0).sum(axis=0)
        return count

    @property
    def num_worse(self) -> NDArray[np.int64]:
        """In how many seeds an image is worse, [N]."""
        count: NDArray[np.int64] = (self.differences < 0).sum(axis=0)
        return count

    @property
    def mended(self) -> NDArray[np.bool_]:
        """Images that are better in more than half of the seeds, [N]."""
        mended: NDArray[np.bool_] = 2 * self.num_better > len(self.seeds)
        return mended

    @property
    def spoiled(self) -> NDArray[np.bool_]:
        """Images that are worse in more than half of the seeds, [N]."""
        spoiled: NDArray[np.bool_] = 2 * self.num_worse > len(self.seeds)
        return spoiled

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean difference over the seeds, [N]."""
        mean: NDArray[np.float64] = self.differences.mean(axis=0)
        return mean


def compare_images(results: Mapping[RunKey, RunResults], arm: str, baseline: str) -> ImageChanges | None:
    """Compare an arm's images with the baseline's over the seeds that both have; None without any."""
    seeds = sorted(seed for of_arm, seed in results if of_arm == arm and (baseline, seed) in results)
    if not seeds:
        return None
    differences = [results[arm, seed].image_f1 - results[baseline, seed].image_f1 for seed in seeds]
    return ImageChanges(tuple(seeds), np.stack(differences))


def measure_seed_noise(results: Mapping[RunKey, RunResults], baseline: str) -> float | None:
    """Return the share of images whose F1 differs between two seeds of the baseline, over all pairs; None below two."""
    scores = [item.image_f1 for (arm, _), item in sorted(results.items()) if arm == baseline]
    shares = [float((first != second).mean()) for first, second in combinations(scores, 2) if len(first)]
    return float(np.mean(shares)) if shares else None
