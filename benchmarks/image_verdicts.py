"""False verdicts and coverage on real evaluations with resampled images: python benchmarks/image_verdicts.py [--quick]

    python benchmarks/image_verdicts.py --data FOLDER                  # has coco_eval_pair; default: FCOS_LAB_DATA
    python benchmarks/image_verdicts.py --sweep outputs/noise_floor    # trainings of the lab beside it

`verdicts.py` draws differences; here they are differences in AP of real detections on sets of real images. In a sweep
each arm and the baseline are given another training of one pool, seed by seed, so that no arm differs from the baseline
and every verdict of a direction is false. Coverage is that of the interval for seeds and images: of a difference of
zero between arms of one pool, and of the true one between two pools, the mean over all sets and trainings.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bootstrap import METHODS, compute_intervals
from resampled_evaluations import PAIR, Change, Trainings, change_coco, compute_ap, draw_sets, read_sweep
from verdicts import ARMS, SEEDS, measure_any_direction

# Copies of the published detections in a pool.
COPIES = 16
SETS, RESAMPLES, SWEEPS = 60, 100, 2000
# Sweeps for coverage on each set of images.
SWEEPS_OF_SET = 10
COVERED_SEEDS = (3, 6, 12)
OTHER = Change(moved=0.055)


def draw_equal_arms(ap: np.ndarray, sweeps: int, arms: int, seeds: int) -> np.ndarray:
    """Return differences of arms to a baseline of the same pool: (sweeps, arms, seeds).

    ap: of each training on each set, (sets, trainings). The sets are the same for all arms and seeds of a sweep.
    """
    rng = np.random.default_rng([sweeps, arms, seeds])
    chosen = rng.random((sweeps, seeds, ap.shape[1])).argsort(axis=-1)[..., : arms + 1]
    values = ap[rng.integers(0, len(ap), sweeps)[:, None, None], chosen]
    return np.ascontiguousarray((values[..., 1:] - values[..., :1]).transpose(0, 2, 1))


@dataclass(frozen=True)
class Pools:
    """AP of the trainings of arm and baseline, (sets, trainings, 1 + resamples); one pool where they are equal."""

    baseline: np.ndarray
    arm: np.ndarray
    num_images: int

    @property
    def truth(self) -> float:
        """The difference over all sets and trainings."""
        return float(self.arm[..., 0].mean() - self.baseline[..., 0].mean())

    def draw_pairs(self, image_set: int, seeds: int, rng: np.random.Generator) -> np.ndarray:
        """Return the differences of a sweep with one arm on a set and its resamples: (seeds, 1 + resamples)."""
        chosen = rng.random((seeds, self.baseline.shape[1])).argsort(axis=1)
        # Two trainings where both are of one pool.
        pairs: np.ndarray = self.arm[image_set, chosen[:, 1]] - self.baseline[image_set, chosen[:, 0]]
        return pairs


def measure_coverage(pools: Pools, seeds: int, sweeps_of_set: int = SWEEPS_OF_SET) -> dict[str, float]:
    """Return for each method of an interval the share of sweeps in which it holds the true difference."""
    rng = np.random.default_rng(seeds)
    held = dict.fromkeys(METHODS, 0)
    for image_set in range(len(pools.baseline)):
        for _ in range(sweeps_of_set):
            intervals = compute_intervals(pools.draw_pairs(image_set, seeds, rng), pools.num_images, rng)
            for method, (low, high) in zip(METHODS, intervals, strict=True):
                held[method] += low <= pools.truth <= high
    return {method: count / (sweeps_of_set * len(pools.baseline)) for method, count in held.items()}


def print_false_verdicts(name: str, ap: np.ndarray, sweeps: int) -> None:
    """Print the share of sweeps of equal arms with any direction, in percent."""
    deviation = 100 * ap.std(axis=1, ddof=1).mean()
    of_what = f"{ap.shape[1]} trainings on {len(ap)} sets of images"
    print(f"\n{name}: {of_what}, AP {100 * ap.mean():.1f}, sd {deviation:.2f}")
    print(f"False verdicts a sweep in percent ({sweeps} sweeps each; one look / any look from 3 seeds on)\n")
    print(f"{'arms beside the baseline':34}" + "".join(f"{f'{seeds} seeds':>14}" for seeds in SEEDS))
    for arms in ARMS:
        cells = []
        for seeds in SEEDS:
            differences = draw_equal_arms(ap, sweeps, arms, seeds)
            shares = [100 * measure_any_direction(differences, several) for several in (False, True)]
            cells.append(" / ".join(f"{share:.1f}" for share in shares))
        print(f"{arms:<34}" + "".join(f"{cell:>14}" for cell in cells), flush=True)


def print_coverage(name: str, pools: Pools) -> None:
    """Print the coverage of 95 % intervals, in percent."""
    print(f"\n{name}: true difference {100 * pools.truth:+.2f} AP; coverage of 95 % intervals in percent\n")
    print(f"{'seeds':8}" + "".join(f"{method:>20}" for method in METHODS))
    for seeds in COVERED_SEEDS:
        covered = measure_coverage(pools, seeds)
        print(f"{seeds:<8}" + "".join(f"{100 * covered[method]:>20.1f}" for method in METHODS), flush=True)


def measure(name: str, trainings: Trainings, other: Trainings | None, sets: int, sweeps: int) -> None:
    """Print the tables of a pool, and of its difference to another one on the same images."""
    if len(trainings.matches) <= max(ARMS):
        sys.exit(f"{name}: has {len(trainings.matches)} trainings; {max(ARMS) + 1} are needed for {max(ARMS)} arms")
    drawn = draw_sets(trainings.num_images, sets, RESAMPLES)
    ap = compute_ap(trainings, drawn, name)
    print_false_verdicts(name, ap[..., 0], sweeps)
    print_coverage(f"{name}, equal arms", Pools(ap, ap, trainings.num_images))
    if other is not None:
        print_coverage(f"{name}, two pools", Pools(ap, compute_ap(other, drawn, name), trainings.num_images))


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the evaluations and print the tables."""
    parser = argparse.ArgumentParser(description="False verdicts and coverage on resampled images of real evaluations.")
    parser.add_argument("--data", type=Path, default=os.environ.get("FCOS_LAB_DATA"), help=f"the folder of {PAIR}")
    parser.add_argument("--sweep", type=Path, help="the folder of a noise floor, such as outputs/noise_floor")
    parser.add_argument("--sets", type=int, default=SETS, help="sets of images")
    parser.add_argument("--quick", action="store_true", help="20 sets and 500 sweeps")
    options = parser.parse_args(arguments)
    if options.data is None and options.sweep is None:
        parser.error(f"nothing to resample: give --data or FCOS_LAB_DATA (with {PAIR}), --sweep, or both")
    sets, sweeps = (20, 500) if options.quick else (options.sets, SWEEPS)
    start = time.process_time()
    if options.data is not None:
        pools = [change_coco(options.data, COPIES, change) for change in (Change(), OTHER)]
        measure("COCO val2014, changed results", pools[0], pools[1], sets, sweeps)
    if options.sweep is not None:
        measure(f"trainings of {options.sweep.name}", read_sweep(options.sweep), None, sets, sweeps)
    print(f"\n{time.process_time() - start:.0f} s of processor time")


if __name__ == "__main__":
    main()
