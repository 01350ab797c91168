"""Compare the same arms of two laboratories: the laboratory is a factor beside the arm."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from analysis.combining.same_training import Settings, describe_differences, settings_by_arm, settings_of
from analysis.formatting import join_words
from analysis.reader.client import StoreError
from analysis.reader.sweep import Experiment, Sweep, Trial

# Names of the two factors, and the laboratory of trials that were not imported.
ARM, LABORATORY, HERE = "arm", "laboratory", "here"


def compare_laboratories(own: Sweep, other: Sweep) -> Sweep:
    """Return both sweeps as one with two factors, arm and laboratory, whose effects a report tests seed by seed.

    Arms are those that both have with the same settings; code, versions, data and machines may differ, as laboratories
    do. Seeds that both have are paired with each other, and then the others in their order. Pairs count in the order of
    one's own seeds, and so do looks of either laboratory at them. Raises StoreError for fewer than two common arms, and
    where nothing can be paired.
    """
    if own.experiment.search is not None or other.experiment.search is not None or own.experiment.factors:
        raise StoreError("--laboratories: is for sweeps whose arms are given by name")
    names = _name_laboratories(own, other)
    arms, notes = _find_common_arms(own, other)
    settings = {arm: each for arm, each in settings_by_arm(own).items() if arm in arms}
    ours, theirs = (_leave_out_others(sweep, settings, notes) for sweep in (own, other))
    blocks = _pair_seeds(ours, theirs, arms)
    if not blocks:
        raise StoreError(f"--laboratories: {own.name} and {other.name} have no finished seeds to pair")
    trials = [
        *_iterate_trials(ours, arms, names[0], {first: first for first, _ in blocks}),
        *_iterate_trials(theirs, arms, names[1], {second: first for first, second in blocks}),
    ]
    apart = [f"{first} with {second}" for first, second in blocks if first != second]
    if apart:
        notes.append(
            f"Seeds that only one laboratory has are paired in their order, {names[0]} with {names[1]}: "
            f"{join_words(apart)}. Such pairs do not share weights and data order, so that they vary more."
        )
    experiment = _make_experiment(own.experiment, arms, names, [first for first, _ in blocks])
    run_ids = {trial.run_id for trial in trials}
    points = pd.concat([own.points, other.points], ignore_index=True)
    return replace(
        own,
        name=f"{own.name} and {other.name}",
        experiment=experiment,
        trials=tuple(trials),
        points=points[points["run_id"].isin(run_ids)].drop_duplicates(["run_id", "key", "step"], ignore_index=True),
        looks=_combine_looks(own, other, blocks),
        notes=(*own.notes, *other.notes, *notes, *_describe_surroundings(own, other, arms[0], names)),
    )


def _name_laboratories(own: Sweep, other: Sweep) -> tuple[str, str]:
    """Return the names of the two laboratories; those of the sweeps where both have the same.

    Raises StoreError where the sweeps have the same too.
    """
    names = []
    for sweep in (own, other):
        of_trials = sorted({trial.provenance.laboratory for trial in sweep.finished})
        names.append(" and ".join(name or HERE for name in of_trials) or sweep.name)
    if names[0] == names[1]:
        names = [own.name, other.name]
    if names[0] == names[1]:
        raise StoreError(f"--laboratories: both sweeps are {own.name} of one laboratory; each needs a name of its own")
    return names[0], names[1]


def _find_common_arms(own: Sweep, other: Sweep) -> tuple[list[str], list[str]]:
    """Return the arms that both have with the same settings, the baseline first, and notes on others."""
    ours, theirs, notes, arms = settings_by_arm(own), settings_by_arm(other), [], []
    baseline = own.experiment.baseline
    for arm in sorted(
        ours,
        key=lambda arm: (arm != baseline, list(own.experiment.arms).index(arm) if arm in own.experiment.arms else 0),
    ):
        if arm not in theirs:
            notes.append(f"{arm} is left out: {other.name} does not have it.")
        elif differing := describe_differences(ours[arm], theirs[arm], with_code=False):
            notes.append(f"{arm} is left out: it differs between the two by {differing}.")
        else:
            arms.append(arm)
    if len(arms) < 2:
        raise StoreError(
            f"--laboratories: {own.name} and {other.name} have {join_words(arms) or 'no arm'} in common with the same "
            f"settings, and two arms are needed{': ' if notes else ''}{' '.join(notes)}"
        )
    return arms, notes


def _leave_out_others(sweep: Sweep, settings: Mapping[str, Settings], notes: list[str]) -> Sweep:
    """Return a sweep without finished trials that are another training than their arm; adds a note on these.

    settings: of the common arms.
    """
    others = [
        trial
        for trial in sweep.finished
        if trial.arm in settings and describe_differences(settings[trial.arm], settings_of(trial), with_code=False)
    ]
    if others:
        labels = join_words([trial.label for trial in others])
        notes.append(f"{labels} of {sweep.name} left out: another training than the rest of the arm.")
    left_out = {trial.run_id for trial in others}
    return replace(sweep, trials=tuple(trial for trial in sweep.trials if trial.run_id not in left_out))


def _pair_seeds(own: Sweep, other: Sweep, arms: Sequence[str]) -> list[tuple[int, int]]:
    """Return pairs of seeds: those that both have, then the others by their order, which no value decides."""
    ours, theirs = (sorted({trial.seed for trial in each.finished if trial.arm in arms}) for each in (own, other))
    common = sorted(set(ours) & set(theirs))
    apart = zip(
        (seed for seed in ours if seed not in common), (seed for seed in theirs if seed not in common), strict=False
    )
    pairs = [*((seed, seed) for seed in common), *apart]
    return sorted(pairs, key=lambda pair: own.seeds.index(pair[0]))


def _combine_looks(own: Sweep, other: Sweep, blocks: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """Return the looks at either sweep as numbers of pairs whose seeds were among those that were looked at."""
    ours = {sum(first in own.seeds[:look] for first, _ in blocks) for look in own.looks}
    theirs = {sum(second in other.seeds[:look] for _, second in blocks) for look in other.looks}
    return tuple(sorted((ours | theirs) - {0}))


def _iterate_trials(sweep: Sweep, arms: Sequence[str], laboratory: str, blocks: Mapping[int, int]) -> Iterator[Trial]:
    """Yield the trials of the common arms as those of cells, under the seed that they are paired by.

    blocks: seed -> that seed, in the order of the pairs.
    """
    ranks = {seed: rank for rank, seed in enumerate(blocks.values())}
    for trial in sweep.trials:
        if trial.arm in arms and trial.seed in blocks:
            seed = blocks[trial.seed]
            yield replace(trial, arm=f"{trial.arm}+{laboratory}", seed=seed, rank=ranks[seed])


def _make_experiment(own: Experiment, arms: Sequence[str], names: tuple[str, str], seeds: list[int]) -> Experiment:
    factors: dict[str, dict[str, dict[str, object]]] = {
        ARM: {arm: {} for arm in arms},
        LABORATORY: {name: {} for name in names},
    }
    cells = [f"{arm}+{name}" for arm in arms for name in names]
    made = own.model_copy(
        update={
            "baseline": cells[0],
            "arms": {cell: {} for cell in cells},
            "seeds": seeds,
            "seed_order": [],
            "until": "seeds",
            "paper": {},
            "factors": factors,
            "claim": None,
        }
    )
    try:
        _ = made.design
    except ValueError as error:
        raise StoreError(f"--laboratories: {error}") from None
    return made


def _describe_surroundings(own: Sweep, other: Sweep, arm: str, names: tuple[str, str]) -> Iterator[str]:
    """Yield what else differs between the laboratories: their effect is that of all of it."""
    differing = describe_differences(settings_by_arm(own)[arm], settings_by_arm(other)[arm])
    if differing:
        yield f"Between {names[0]} and {names[1]} differ {differing}: the laboratory's effect is that of all these."
