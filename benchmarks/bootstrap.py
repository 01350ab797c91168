"""Intervals for other seeds and other images: their time, and how often they cover: python benchmarks/bootstrap.py

    python benchmarks/bootstrap.py --coverage 0          # the time alone
    python benchmarks/bootstrap.py --coverage 2000       # 2,000 simulated sweeps for each number of seeds

Time: nine arms with three seeds, 300 images with 100 detections each, 1,000 resamples, of 3 and of 80 classes (goal: 30
seconds on two cores). Coverage: sweeps drawn from a population of images and trainings with a known difference, which
95 % of the intervals should hold (goal: 93 to 97 %). Beside it how often the same difference is held by the interval
from seeds alone, by the sum that counts the variance of seeds on images twice, and by the percentiles of resampled
seeds and images.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from evaluation import draw_detections, draw_truth
from image_population import DIFFERING, POPULATIONS, Effects, ImageSet, draw_images, draw_pair
from scipy import stats

from analysis.stats.two_level import draw_image_weights, estimate_two_level
from analysis.stats.weighted_ap import compute_weighted_ap
from analysis.stats.weighted_metrics import compute_weighted_metrics
from fcos.annotations.annotations import Annotations, read_annotations
from fcos.annotations.coco_results import CocoResults
from fcos.evaluation.coco import results_of
from fcos.evaluation.matches import Matches

ARMS, SEEDS, IMAGES, RESAMPLES = 9, 3, 300, 1000
GOAL_SECONDS = 30
METHODS = ("seeds and images", "seeds alone", "sum of both", "percentiles")


def time_intervals(num_classes: int, images: int = IMAGES, resamples: int = RESAMPLES) -> float:
    """Return the seconds that the matching and resampling of all arms and seeds takes, and print progress."""
    annotations, results = draw_evaluation(num_classes, images)
    weights = draw_image_weights(images, resamples)
    metrics = ["val/AP", "val/AP50", "val/AP75"]
    start, processor_start = time.perf_counter(), time.process_time()
    for number in range(1, ARMS * SEEDS + 1):
        compute_weighted_metrics(annotations, results, weights, metrics, ())
        if sys.stderr.isatty():
            print(f"\r{number} of {ARMS * SEEDS} evaluations ", end="", flush=True, file=sys.stderr)
    seconds, processor = time.perf_counter() - start, time.process_time() - processor_start
    print(
        f"{ARMS} arms, {SEEDS} seeds, {images} images of {num_classes} classes, {resamples} resamples: {seconds:.1f} s "
        f"(goal {GOAL_SECONDS} s), {processor:.1f} s of a processor"
    )
    return seconds


def draw_evaluation(num_classes: int, images: int) -> tuple[Annotations, CocoResults]:
    """Draw boxes and 100 detections for each image."""
    rng = np.random.default_rng(0)
    truth = draw_truth(images, rng, num_classes)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "truth.json"
        path.write_text(json.dumps(truth))
        annotations = read_annotations(path)
    return annotations, results_of(annotations, draw_detections(truth, rng, num_classes))


@dataclass(frozen=True)
class Simulation:
    """Sizes of the simulated sweeps."""

    images: int = IMAGES
    resamples: int = 200
    effects: Effects = field(default_factory=Effects)


def measure_coverage(num_seeds: int, sweeps: int, truth: float, simulation: Simulation) -> dict[str, float]:
    """Return for each method the share of sweeps whose interval holds the true difference."""
    weights = draw_image_weights(simulation.images, simulation.resamples)
    covered = dict.fromkeys(METHODS, 0)
    for number in range(sweeps):
        rng = np.random.default_rng([num_seeds, number])
        images = draw_images(simulation.images, simulation.effects, rng)
        samples = np.stack([draw_differences(images, weights, simulation.effects, rng) for _ in range(num_seeds)])
        for method, (low, high) in zip(METHODS, compute_intervals(samples, simulation.images, rng), strict=True):
            covered[method] += low <= truth <= high
    return {method: count / sweeps for method, count in covered.items()}


def draw_differences(images: ImageSet, weights: np.ndarray, effects: Effects, rng: np.random.Generator) -> np.ndarray:
    """Return the difference in AP of one seed's pair under each weighting."""
    baseline, arm = draw_pair(images, effects, rng)
    difference: np.ndarray = mean_ap(arm, weights) - mean_ap(baseline, weights)
    return difference


def mean_ap(matches: Matches, weights: np.ndarray) -> np.ndarray:
    """Return AP under each weighting."""
    ap: np.ndarray = compute_weighted_ap(matches, weights).mean(axis=(0, 1))
    return ap


def compute_intervals(samples: np.ndarray, num_images: int, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Return the interval of each method. samples: (seeds, 1 + resamples), see draw_image_weights."""
    differences, resampled = samples[:, 0], samples[:, 1:]
    interval = estimate_two_level(differences, resampled, num_images)
    assert interval is not None
    num_seeds, mean = len(differences), differences.mean()
    of_seeds, of_images = differences.var(ddof=1) / num_seeds, resampled.mean(axis=0).var(ddof=1)
    both = of_seeds + of_images
    freedom = both**2 / (of_seeds**2 / (num_seeds - 1) + of_images**2 / (num_images - 1))
    chosen = rng.integers(0, num_seeds, (num_seeds, resampled.shape[1]))
    low, high = np.quantile(np.take_along_axis(resampled, chosen, axis=0).mean(axis=0), [0.025, 0.975])
    return [
        (interval.low, interval.high),
        stats.t.interval(0.95, num_seeds - 1, mean, np.sqrt(of_seeds)),
        stats.t.interval(0.95, freedom, mean, np.sqrt(both)),
        (low, high),
    ]


def find_truth(sets: int, simulation: Simulation) -> float:
    """Return the mean difference over so many image sets with a seed each, none of which is used again."""
    rng = np.random.default_rng(1)
    all_once = np.ones((simulation.images, 1), dtype=np.int64)
    differences = [
        draw_differences(draw_images(simulation.images, simulation.effects, rng), all_once, simulation.effects, rng)
        for _ in range(sets)
    ]
    return float(np.mean(differences))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the times and the coverages."""
    parser = argparse.ArgumentParser(description="Time and coverage of the intervals for other seeds and images.")
    parser.add_argument("--coverage", type=int, default=1000, metavar="SWEEPS", help="simulated sweeps (default: 1000)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 6, 12], help="numbers of seeds to simulate")
    parser.add_argument("--populations", nargs="+", choices=POPULATIONS, default=list(POPULATIONS))
    options = parser.parse_args(arguments)
    for num_classes in (3, 80):
        time_intervals(num_classes)
    if not options.coverage:
        return
    for name, effects in POPULATIONS.items():
        if name not in options.populations:
            continue
        simulation = Simulation(effects=effects)
        truth = find_truth(3 * options.coverage, simulation)
        print(f"\npopulation where {DIFFERING[name]}; true difference {100 * truth:+.2f} AP, {options.coverage} sweeps")
        print("seeds  " + "  ".join(METHODS))
        for num_seeds in options.seeds:
            coverage = measure_coverage(num_seeds, options.coverage, truth, simulation)
            shares = "  ".join(f"{coverage[method]:>{len(method)}.1%}" for method in METHODS)
            print(f"{num_seeds:5}  {shares}", flush=True)


if __name__ == "__main__":
    main()
