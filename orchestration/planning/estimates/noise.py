"""What the planned seeds can show, from noise floors in the output folder or else from sweeps of the store."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fcos.config.parse import flatten
from fcos.errors import DataError
from fcos.statistics.power import ALPHA, MAX_PAIRS, pairs_needed, resolution, unpaired_deviation
from fcos.statistics.sign_flip import find_fewest_pairs
from fcos.storage.noise_floor import NOISE, SETTING_SECTIONS, NoiseFloor, read_noise_floor
from fcos.storage.store_conventions import RUN_ONLY, Artifact, MetricPrefix, param_text
from orchestration.cli.console import format_count
from orchestration.config.experiment import ExperimentConfig
from orchestration.experiment.identity import without
from orchestration.experiment.weights import pinned_keys
from orchestration.planning.estimates.cost import SeedCost, is_main
from orchestration.planning.estimates.paired_noise import PairedNoise, find_paired_noise
from orchestration.planning.plan import Plan
from orchestration.tracking.history import History
from orchestration.tracking.problems import TrackingError

# Differing keys that a line names.
MOST_KEYS = 3


@dataclass(frozen=True)
class KnownNoise:
    """Noise of a metric, where it is known from, and how that differs from what is planned.

    deviation: of one training, in the metric's unit; that of a paired difference is √2 times as large. source: the
    deviation in words, with the sweep behind it. differing: keys of the model in which its training is another one.
    """

    deviation: float
    source: str
    differing: tuple[str, ...] = ()

    @classmethod
    def of_floor(cls, floor: NoiseFloor, metric: str, differing: tuple[str, ...]) -> "KnownNoise":
        """Return the noise of a metric in a noise floor; pairing is taken to gain nothing."""
        noise = floor.metrics[metric]
        text = f"sd {in_units(noise.deviation, metric)} from {floor.sweep}, {noise.seeds} seeds"
        if differing:
            more = f" and {len(differing) - MOST_KEYS} more" if len(differing) > MOST_KEYS else ""
            text += f", of a model that differs in {', '.join(differing[:MOST_KEYS])}{more}"
        return cls(noise.deviation, text, differing)

    @classmethod
    def of_pairs(cls, noise: PairedNoise, metric: str) -> "KnownNoise":
        """Return the noise of a metric from the paired differences of a sweep."""
        text = f"sd {in_units(noise.deviation, metric)} of {noise.pairs} paired differences in {noise.sweep}"
        text += "" if noise.arms == 1 else f" over {noise.arms} arms"
        return cls(noise.deviation / unpaired_deviation(1.0), text)


def read_noise_floors(output: Path) -> tuple[list[NoiseFloor], list[str]]:
    """Return the noise floors that reports below an output folder hold, and notes on files that are none."""
    floors, notes = [], []
    for path in sorted(output.glob(f"*/{Artifact.REPORT}/{NOISE}")):
        try:
            floors.append(read_noise_floor(path))
        except (DataError, OSError) as error:
            notes.append(f"noise floor left out: {error}")
    return floors, notes


def find_noise(plan: Plan, arm: str, metric: str, floors: Sequence[NoiseFloor]) -> KnownNoise | None:
    """Return the noise of an arm's training, or else of the most similar model on the same data and schedule.

    Of several the one of more seeds. None where no floor is of that data and schedule.
    """
    values = plan.arms[arm].model_dump(mode="json")
    left_out = (*RUN_ONLY, *pinned_keys(values))
    ours = _setting_texts(flatten(without(values, left_out)), left_out)
    digest = next(trial.data_digest for trial in plan.trials if arm in trial.arms)
    extends = "" if plan.extension is None else plan.extension.sha256
    known = []
    for floor in floors:
        theirs = _setting_texts(floor.settings, left_out)
        differing = tuple(key for key in dict.fromkeys([*ours, *theirs]) if ours.get(key) != theirs.get(key))
        is_alike = (floor.data_digest, floor.extends) == (digest, extends)
        if metric in floor.metrics and is_alike and not any(map(is_main, differing)):
            known.append((len(differing), -floor.metrics[metric].seeds, floor, differing))
    if not known:
        return None
    _, _, floor, differing = min(known, key=lambda each: each[:2])
    return KnownNoise.of_floor(floor, metric, differing)


def _find_any_noise(
    plan: Plan, arm: str, metric: str, floors: Sequence[NoiseFloor], history: History | None
) -> tuple[KnownNoise | None, list[str]]:
    """Return the noise of an arm's training, with a note where the store does not answer.

    A noise floor of the same training comes first, then paired differences of the same one, then a similar model.
    """
    floor = find_noise(plan, arm, metric, floors)
    if history is None or (floor is not None and not floor.differing):
        return floor, []
    try:
        paired = find_paired_noise(history, plan, arm, metric)
    except TrackingError as error:
        return floor, [f"noise of earlier sweeps left out: {error}"]
    return (floor if paired is None else KnownNoise.of_pairs(paired, metric)), []


def _setting_texts(flat: Mapping[str, Any], left_out: tuple[str, ...]) -> dict[str, str]:
    """Return the settings that decide the noise, as the text of a param."""
    return {
        key: param_text(value)
        for key, value in flat.items()
        if key.startswith(SETTING_SECTIONS) and key not in left_out
    }


def power_lines(
    experiment: ExperimentConfig, plan: Plan, output: Path, cost: SeedCost | None, history: History | None
) -> list[str]:
    """Describe which difference to the baseline the planned seeds can show, and how many the claim's effect needs.

    Both for the arm that Holm's procedure tests first, at 5 % over the number of arms beside the baseline.

    cost: of one seed, None where unknown. history: of the store, None where there is none. No line for a search, a
    noise floor and what trains nothing.
    """
    if experiment.baseline is None or experiment.kind == "noise_floor" or plan.trials[0].is_coverage:
        return []
    metric = experiment.metrics[0]
    floors, notes = read_noise_floors(output)
    known, more = _find_any_noise(plan, experiment.baseline, metric, floors, history)
    notes += more
    if known is None:
        return [*notes, "no noise known for this model, data and schedule: +experiment=noise_floor measures it"]
    tested = _list_tested(experiment, known.deviation)
    lines = [_shown_line(len(experiment.all_seeds), known, metric, each) for each in tested]
    if experiment.effect is not None and _is_fraction(metric):
        lines.append(_effect_line(experiment.effect / 100, metric, tested[-1], cost))
    return [*notes, *lines]


@dataclass(frozen=True)
class Tested:
    """What is tested over the seeds: `what` names it.

    deviation: over seeds, where pairing buys nothing. level: of the one that Holm's procedure tests first.
    """

    what: str
    deviation: float
    level: float


def _list_tested(experiment: ExperimentConfig, deviation: float) -> list[Tested]:
    """Return a difference of two arms; with factors a main effect and an interaction, each of the widest spread.

    deviation: of one training.
    """
    design = experiment.design
    if design is None:
        return [Tested("difference", unpaired_deviation(deviation), ALPHA / (len(experiment.arms) - 1))]
    spreads: dict[str, float] = {}
    for effect in design.tested:
        size = float(np.linalg.norm(design.make_contrast(effect))) * deviation
        what = "interaction" if effect.is_interaction else "main effect"
        spreads[what] = max(size, spreads.get(what, 0.0))
    return [Tested(what, size, ALPHA / len(design.tested)) for what, size in spreads.items()]


def _shown_line(seeds: int, known: KnownNoise, metric: str, tested: Tested) -> str:
    """Return `7 seeds can show a difference of about 5.4 AP (noise: sd 2.1 AP from noise_floor, 6 seeds)`."""
    noise = f"(noise: {known.source})"
    shown = resolution(seeds, tested.level).shows * tested.deviation
    if math.isfinite(shown):
        article = "an" if tested.what[0] in "aeiou" else "a"
        return f"{seeds} seeds can show {article} {tested.what} of about {in_units(shown, metric)} {noise}"
    text = f"{format_count(seeds, 'seed')} can show no {tested.what} by an exact test, however large"
    fewest = find_fewest_pairs(tested.level)
    if fewest is None:
        return f"{text}, nor can any number: too much is tested {noise}"
    least = in_units(resolution(fewest, tested.level).shows * tested.deviation, metric)
    return f"{text}; {fewest} are the least, and can show one of about {least} {noise}"


def _effect_line(effect: float, metric: str, tested: Tested, cost: SeedCost | None) -> str:
    """Return `the claim's effect of 3.6 AP needs about 10 seeds, 2.5 GPU-hours in all`."""
    needed = pairs_needed(effect / tested.deviation if tested.deviation else math.inf, tested.level)
    text = f"the claim's effect of {in_units(effect, metric)}"
    if needed is None:
        return f"{text} needs more than {MAX_PAIRS} seeds: it is lost in this noise"
    hours = "" if cost is None else f", {cost.hours * needed:.3g} {cost.unit} in all"
    return f"{text} needs about {needed} seeds{hours}"


def _is_fraction(metric: str) -> bool:
    """Return whether a metric is a fraction, shown in percent: an evaluation's, but for counts and milliseconds."""
    return metric.startswith(MetricPrefix.VAL) and not metric.startswith(MetricPrefix.COST)


def in_units(value: float, metric: str) -> str:
    """Return a difference of a metric with its name: `3.8 AP`, in percent points for fractions."""
    name = metric.removeprefix(MetricPrefix.VAL)
    return f"{100 * value:.1f} {name}" if _is_fraction(metric) else f"{value:.3g} {name}"
