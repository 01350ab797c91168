"""Error rates, coverage and power of the verdicts of a report, simulated: python benchmarks/verdicts.py [--quick]

Sweeps whose differences are drawn instead of trained, decided by the code that reports use:

- False verdicts: arms that equal the baseline (A/A); the share of sweeps in which any arm is called higher or lower, at
  one look at all seeds or at any look of one after each seed from the third on. Holm's first step decides about the
  first false verdict.
- Coverage: how often the interval of one arm holds the true difference, at the last look and at the look at which the
  sweep stops because zero is left out. The interval holds what the test does not reject, so the test at the true
  difference is tested.
- Power and seeds: how often an effect is shown over its spread, and how many seeds that takes with looks.
- False equality: an arm whose true difference is the margin itself; how often "no difference of note" is shown, at one
  look or at any.
- Rounds: sweeps in which some arms differ and others do not, with one seed more at a time for those that are not
  decided (`until=decided`); false directions and false equality at any look.

Distributions: normal; skewed and heavy-tailed values (an arm minus an equal baseline is symmetric then); and skewed
differences, where the arm alone is skewed: these break the one assumption of the test.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from verdict_rounds import FIRST_LOOK, run_rounds

from fcos.statistics.holm import FAMILY_LEVEL
from fcos.statistics.sign_flip import Floats, compute_p_values, find_fewest_pairs, find_first_rejections

ARMS = (2, 5, 10)
SEEDS = (3, 6, 8, 12)
EFFECTS = (0.0, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
# Largest difference that does not matter, over the deviation of the differences.
MARGINS = (1.0, 2.0, 4.0)
ROUNDS_MARGIN = 1.0
# Sweeps in rounds, by the true difference of each arm over its deviation.
MIXES: Mapping[str, tuple[float, ...]] = {
    "2 equal arms": (0.0, 0.0),
    "1 of 2 arms better by 1.5": (1.5, 0.0),
    "2 of 5 arms better by 1.5": (1.5, 1.5, 0.0, 0.0, 0.0),
    "2 arms better by the margin": (ROUNDS_MARGIN, ROUNDS_MARGIN),
}
# Rows that are tested at once: bounds the memory to some hundred megabytes.
BATCH = 4000

Noise = Callable[[np.random.Generator, tuple[int, int, int]], Floats]


def draw_normal(generator: np.random.Generator, shape: tuple[int, int, int]) -> Floats:
    """Draw standard normal values."""
    return generator.standard_normal(shape)


def draw_skewed(generator: np.random.Generator, shape: tuple[int, int, int]) -> Floats:
    """Draw exponential values of mean 0 and deviation 1."""
    values: Floats = generator.exponential(size=shape) - 1
    return values


def draw_heavy_tailed(generator: np.random.Generator, shape: tuple[int, int, int]) -> Floats:
    """Draw values of Student's t with three degrees of freedom, of deviation 1."""
    values: Floats = generator.standard_t(3, size=shape) / np.sqrt(3)
    return values


@dataclass(frozen=True)
class Distribution:
    """How values vary over seeds. shares_noise: whether the baseline varies like the arms, else it does not at all."""

    noise: Noise
    shares_noise: bool = True


DISTRIBUTIONS: Mapping[str, Distribution] = {
    "normal": Distribution(draw_normal),
    "skewed values": Distribution(draw_skewed),
    "heavy-tailed values": Distribution(draw_heavy_tailed),
    "skewed differences": Distribution(draw_skewed, shares_noise=False),
}


def draw_differences(distribution: Distribution, sweeps: int, arms: int, seeds: int) -> Floats:
    """Return differences of equal arms to one baseline, of deviation 1: (sweeps, arms, seeds)."""
    generator = np.random.default_rng([sweeps, arms, seeds])
    values = distribution.noise(generator, (sweeps, arms, seeds))
    if not distribution.shares_noise:
        return values
    # The same baseline in all arms of a sweep, so that the arms' differences are correlated.
    differences: Floats = (values - distribution.noise(generator, (sweeps, 1, seeds))) / np.sqrt(2)
    return differences


def make_looks(seeds: int, several: bool) -> tuple[int, ...]:
    """Return one look at all seeds, or one after each seed from the third on."""
    return tuple(range(FIRST_LOOK, seeds + 1)) if several else (seeds,)


def find_rejections(differences: Floats, looks: tuple[int, ...], level: float) -> Floats:
    """Return the first look that rejects for each row, 0 for none, in batches."""
    parts = [differences[first : first + BATCH] for first in range(0, len(differences), BATCH)]
    return np.concatenate([find_first_rejections(part, looks, level) for part in parts])


def measure_any_direction(differences: Floats, several: bool) -> float:
    """Return the share of sweeps with any direction at any of their looks. differences: (sweeps, arms, seeds)."""
    sweeps, arms, seeds = differences.shape
    first = find_rejections(differences.reshape(-1, seeds), make_looks(seeds, several), FAMILY_LEVEL / arms)
    return float((first.reshape(sweeps, arms) > 0).any(axis=1).mean())


def measure_false_verdicts(distribution: Distribution, sweeps: int, arms: int, seeds: int, several: bool) -> float:
    """Return the share of A/A sweeps with any direction at any of their looks."""
    return measure_any_direction(draw_differences(distribution, sweeps, arms, seeds), several)


@dataclass(frozen=True)
class Coverage:
    """Share of intervals that hold the true difference, by where the interval is taken."""

    last: float
    stopped: float


def measure_coverage(distribution: Distribution, sequences: int, seeds: int, effect: float, several: bool) -> Coverage:
    """Return the coverage of one arm's intervals. effect: true difference over the deviation."""
    noise = draw_differences(distribution, sequences, 1, seeds)[:, 0]
    looks = make_looks(seeds, several)
    stops = find_rejections(noise + effect, looks, FAMILY_LEVEL)
    # Not decided: the sweep ends with its last seed.
    stops = np.where(stops == 0, seeds, stops)
    held = np.zeros(sequences, dtype=bool)
    for stop in np.unique(stops).astype(int):
        of_stop = stops == stop
        until = tuple(look for look in looks if look <= stop)
        held[of_stop] = compute_p_values(noise[of_stop, :stop], until, FAMILY_LEVEL) > FAMILY_LEVEL
    parts = [noise[first : first + BATCH] for first in range(0, sequences, BATCH)]
    last = np.concatenate([compute_p_values(part, looks, FAMILY_LEVEL) > FAMILY_LEVEL for part in parts])
    return Coverage(float(last.mean()), float(held.mean()))


@dataclass(frozen=True)
class Power:
    """Share of sequences in which an effect is shown, and the pairs that they take on average, stopped then."""

    shown: float
    pairs: float


def measure_power(distribution: Distribution, sequences: int, seeds: int, effect: float, several: bool) -> Power:
    """Return power and mean number of pairs of one arm. effect: true difference over the deviation."""
    differences = draw_differences(distribution, sequences, 1, seeds)[:, 0] + effect
    first = find_rejections(differences, make_looks(seeds, several), FAMILY_LEVEL)
    return Power(float((first > 0).mean()), float(np.where(first == 0, seeds, first).mean()))


def measure_false_equality(
    distribution: Distribution, sequences: int, seeds: int, margin: float, several: bool
) -> float:
    """Return how often an arm that differs by the margin is called equal at any look. margin: over the deviation."""
    differences = draw_differences(distribution, sequences, 1, seeds)[:, 0] + margin
    looks = make_looks(seeds, several)
    equal = np.zeros(sequences, dtype=bool)
    for number in range(1, len(looks) + 1):
        parts = [differences[first : first + BATCH] for first in range(0, sequences, BATCH)]
        equal |= np.concatenate([find_equal(part, looks[:number], margin) for part in parts])
    return float(equal.mean())


def find_equal(differences: Floats, looks: tuple[int, ...], margin: float) -> NDArray[np.bool_]:
    """Return for which rows the interval of the last look lies within the margin: both ends of that are rejected."""
    if looks[-1] < (find_fewest_pairs(FAMILY_LEVEL) or 0):
        return np.zeros(len(differences), dtype=bool)
    until = differences[:, : looks[-1]]
    equal: NDArray[np.bool_] = np.abs(until.mean(axis=1)) < margin
    for end in (-margin, margin):
        equal &= compute_p_values(until - end, looks, FAMILY_LEVEL) <= FAMILY_LEVEL
    return equal


@dataclass(frozen=True)
class RoundRates:
    """Shares of sweeps in rounds. pairs: mean number of an arm.

    false_direction: any arm is called higher or lower that is not, at any look. false_equal: any arm is called equal
    that differs by the margin or more, at any look. found: of the arms that differ, called so at the last look; 0
    where none does.
    """

    false_direction: float
    false_equal: float
    found: float
    pairs: float


def measure_rounds(distribution: Distribution, sequences: int, effects: Sequence[float], margin: float) -> RoundRates:
    """Return the rates of sweeps in rounds. effects, margin: over the deviation."""
    differences = draw_differences(distribution, sequences, len(effects), SEEDS[-1]) + np.array(effects)[:, None]
    sweeps = [run_rounds(of_sweep, margin) for of_sweep in differences]
    false = [{"lower"} if effect > 0 else {"lower", "higher"} for effect in effects]
    directions = [any(seen & wrong for seen, wrong in zip(sweep.seen, false, strict=True)) for sweep in sweeps]
    differ = [arm for arm, effect in enumerate(effects) if effect >= margin]
    return RoundRates(
        false_direction=float(np.mean(directions)),
        false_equal=float(np.mean([any("equal" in sweep.seen[arm] for arm in differ) for sweep in sweeps])),
        found=float(np.mean([[sweep.last[arm] == "higher" for arm in differ] for sweep in sweeps])) if differ else 0.0,
        pairs=float(np.mean([sweep.pairs for sweep in sweeps])),
    )


def print_false_equality(sequences: int) -> None:
    """Print how often an arm that differs by the margin is called equal, in percent."""
    print(f"\nCalled equal although the difference is the margin, in percent ({sequences} sequences each;")
    print("one look / any look from 3 seeds on)\n")
    names = ("normal", "heavy-tailed values")
    print(f"{'margin over deviation, seeds':34}" + "".join(f"{name:>22}" for name in names))
    for margin in MARGINS:
        for seeds in SEEDS[1:]:
            cells = [
                " / ".join(
                    f"{100 * measure_false_equality(DISTRIBUTIONS[name], sequences, seeds, margin, several):.1f}"
                    for several in (False, True)
                )
                for name in names
            ]
            print(f"{f'{margin:g}, {seeds} seeds':34}" + "".join(f"{cell:>22}" for cell in cells), flush=True)


def print_rounds(sequences: int) -> None:
    """Print the error rates of sweeps that drop decided arms, in percent."""
    print(f"\nRounds from {FIRST_LOOK} to {SEEDS[-1]} seeds, margin {ROUNDS_MARGIN:g} ({sequences} sweeps each)\n")
    heads = ("false direction", "false equal", "found", "mean pairs")
    print(f"{'true differences over deviation':34}" + "".join(f"{head:>18}" for head in heads))
    for name, effects in MIXES.items():
        rates = measure_rounds(DISTRIBUTIONS["normal"], sequences, effects, ROUNDS_MARGIN)
        shares = (rates.false_direction, rates.false_equal, rates.found)
        cells = [*(f"{100 * share:.1f}" for share in shares), f"{rates.pairs:.1f}"]
        print(f"{name:34}" + "".join(f"{cell:>18}" for cell in cells), flush=True)


def print_false_verdicts(sequences: int) -> None:
    """Print the share of A/A sweeps with a false direction, in percent."""
    print(f"\nFalse verdicts a sweep in percent ({sequences} A/A sweeps each; one look / any look from 3 seeds on)\n")
    print(f"{'arms beside the baseline, seeds':34}" + "".join(f"{name:>22}" for name in DISTRIBUTIONS))
    for arms in ARMS:
        for seeds in SEEDS:
            cells = [
                " / ".join(
                    f"{100 * measure_false_verdicts(distribution, sequences, arms, seeds, several):.1f}"
                    for several in (False, True)
                )
                for distribution in DISTRIBUTIONS.values()
            ]
            print(f"{f'{arms} arms, {seeds} seeds':34}" + "".join(f"{cell:>22}" for cell in cells), flush=True)


def print_coverage(sequences: int) -> None:
    """Print the coverage of 95 % intervals where the pairs bound one, in percent."""
    fewest = find_fewest_pairs(FAMILY_LEVEL) or 0
    print(f"\nCoverage of 95 % intervals in percent ({sequences} sequences, effect of one deviation;")
    print("one look / last of the looks from 3 on / where the sweep stops)\n")
    print(f"{'seeds':34}" + "".join(f"{name:>22}" for name in DISTRIBUTIONS))
    for seeds in (seeds for seeds in SEEDS if seeds >= fewest):
        cells = []
        for distribution in DISTRIBUTIONS.values():
            one = measure_coverage(distribution, sequences, seeds, 1.0, several=False)
            looks = measure_coverage(distribution, sequences, seeds, 1.0, several=True)
            cells.append(f"{100 * one.last:.1f} / {100 * looks.last:.1f} / {100 * looks.stopped:.1f}")
        print(f"{seeds:<34}" + "".join(f"{cell:>22}" for cell in cells), flush=True)


def print_power(sequences: int) -> None:
    """Print power over effects, and the seeds that looks save."""
    most = SEEDS[-1]
    print(f"\nPower in percent for one arm, normal differences ({sequences} sequences)\n")
    heads = [*(f"{seeds} seeds" for seeds in SEEDS), f"looks 3 to {most}", "mean seeds", "saved"]
    print(f"{'effect over deviation':34}" + "".join(f"{head:>14}" for head in heads))
    for effect in EFFECTS:
        normal = DISTRIBUTIONS["normal"]
        fixed = [measure_power(normal, sequences, seeds, effect, several=False).shown for seeds in SEEDS]
        looks = measure_power(normal, sequences, most, effect, several=True)
        cells = [*(f"{100 * shown:.1f}" for shown in fixed), f"{100 * looks.shown:.1f}", f"{looks.pairs:.1f}"]
        cells.append(f"{100 * (1 - looks.pairs / most):.0f} %")
        print(f"{effect:<34}" + "".join(f"{cell:>14}" for cell in cells), flush=True)


def main() -> None:
    """Simulate and print the tables."""
    parser = argparse.ArgumentParser(description="Simulated error rates, coverage and power of a report's verdicts.")
    parser.add_argument("--sequences", type=int, default=10_000, help="simulated sweeps in each cell of a table")
    parser.add_argument("--quick", action="store_true", help="500 of them")
    options = parser.parse_args()
    sequences = 500 if options.quick else options.sequences
    start = time.process_time()
    print_false_verdicts(sequences)
    print_coverage(sequences)
    print_power(sequences)
    print_false_equality(sequences)
    # One by one, which takes as long as all others together.
    print_rounds(max(1, sequences // 10))
    print(f"\n{time.process_time() - start:.0f} s of processor time")


if __name__ == "__main__":
    main()
