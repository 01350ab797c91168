"""Warm start of a search: finished trainings of the store that are points of its space are given to its searcher."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from fcos.config.parse import flatten
from fcos.config.run import Config
from fcos.errors import ConfigError
from fcos.storage.store_conventions import RUN_ONLY, Tag, extension_of, parse_param
from orchestration.config.schema import LabConfig
from orchestration.experiment.identity import without
from orchestration.experiment.weights import pinned_keys
from orchestration.planning.plan import StoredPlan
from orchestration.search.observations import Observation, OutsideError, point_of
from orchestration.search.points import Search
from orchestration.search.space import Point
from orchestration.search.stored_search import StoredSearch
from orchestration.tracking.history import MAX_RUNS, History, PastRun, open_history

# Keys that a note names for each reason.
MOST_KEYS = 3
# Why a training is left out that would choose points by a seed that is to confirm them.
CONFIRMING = "with a seed of search.confirm_seeds"


def observe(lab: LabConfig, search: Search, name: str, stored: StoredPlan | None) -> list[str]:
    """Give a search what the store holds, or what an earlier command of the sweep was given; return the note.

    Trainings with a seed that is to confirm the winner are left out: what they gave may not choose it.
    Raises TrackingError where the store does not answer: the search would be another one.
    """
    if not lab.search.warm_start:
        return []
    before = None if stored is None else stored.search
    if before is not None and before.observations is not None and _is_same_search(before, search):
        search.observations.extend(before.observations)
        return [f"{_summary(search)}, as in the first command of this sweep"]
    history = open_history(lab.tracking.uri, lab.folder)
    left_out: Counter[str] = Counter()
    runs = [] if history is None else _comparable(history, search, name)
    search.observations.extend(_collect(runs, search, left_out))
    confirming = left_out.pop(CONFIRMING, 0)
    reasons = [f"{confirming} {CONFIRMING}"] if confirming else []
    reasons += [f"{count} {reason}" for reason, count in left_out.most_common(MOST_KEYS)]
    more = sum(left_out.values()) - sum(count for _, count in left_out.most_common(MOST_KEYS))
    reasons += [f"{more} for other values"] if more else []
    note = _summary(search) + (f"; left out: {', '.join(reasons)}" if reasons else "")
    return [note + (f"; of the newest {MAX_RUNS} runs alone" if len(runs) >= MAX_RUNS else "")]


def find_observed_seeds(lab: LabConfig, stored: StoredSearch | None) -> set[int]:
    """Return the seeds of the trainings that earlier commands gave to the searcher.

    A plan of an older version names their runs alone, whose seeds are those that the store still has. Raises
    TrackingError where it does not answer: the winner might be confirmed by what chose it.
    """
    if stored is None:
        return set()
    if stored.observed_seeds is not None:
        return set(stored.observed_seeds)
    given = {run for each in stored.observations or () for run in each.runs}
    history = open_history(lab.tracking.uri, lab.folder) if given else None
    runs = [] if history is None else history.newest()
    return {seed for run in runs if run.run_id in given for seed in _seeds_of(run, lab.training)}


def _seeds_of(run: PastRun, base: Config) -> set[int]:
    """Return the seed of a training, and those that single sources of chance had of their own.

    One that the search fixes to the same value is left out: its trainings have it whatever their seed is, also those
    that confirm.
    """
    fixed = flatten(base.seeds.model_dump(), "seeds.")
    seeds = {key: parse_param(text) for key, text in run.params.items() if key == "seed" or key.startswith("seeds.")}
    return {seed for key, seed in seeds.items() if isinstance(seed, int) and fixed.get(key) != seed}


def _is_same_search(before: StoredSearch, search: Search) -> bool:
    now = StoredSearch.of(search)
    return (before.space, before.observed_metrics) == (now.space, list(search.config.metrics))


def _summary(search: Search) -> str:
    trainings = sum(len(each.runs) for each in search.observations)
    count = (
        "1 finished training of the store is" if trainings == 1 else f"{trainings} finished trainings of the store are"
    )
    return f"{count} given to the searcher, as {len(search.observations)} of its points (search.warm_start)"


def _comparable(history: History, search: Search, name: str) -> list[PastRun]:
    """Return the trainings of other sweeps on the same data with the same schedule but for the keys of the space.

    One that went on from a checkpoint of another schedule by choice is the result of no single schedule.
    """
    digest = search.data.of(search.base)
    base = _settings(flatten(search.base.model_dump(mode="json")), search)
    schedule = {key: value for key, value in base.items() if key.startswith("schedule.")}
    return [
        run
        for run in history.newest()
        if not run.is_copy
        and run.tags.get(Tag.DATA_DIGEST) == digest
        and run.tags.get(Tag.SWEEP) != name
        and Tag.INEXACT not in run.tags
        and not extension_of(run.tags)
        and all(parse_param(run.params.get(key, "")) == value for key, value in schedule.items())
    ]


def _settings(values: Mapping[str, Any], search: Search) -> dict[str, Any]:
    """Return the flat settings that the points of a search share: no keys of its space, nor what decides nothing."""
    base = search.base.model_dump(mode="json")
    left_out = (*RUN_ONLY, *pinned_keys(base), *search.config.space, "seed", "seeds")
    return {
        key: value
        for key, value in values.items()
        if not any(key == other or key.startswith(f"{other}.") for other in left_out)
    }


def _collect(runs: Sequence[PastRun], search: Search, left_out: Counter[str]) -> list[Observation]:
    """Return the points of trainings with the means of their metrics, and keep their seeds; counts those left out."""
    base = flatten(without(search.base.model_dump(mode="json"), RUN_ONLY))
    found: list[tuple[Point, list[tuple[str, list[float]]]]] = []
    for run in sorted(runs, key=lambda run: run.run_id):
        values = {key: parse_param(text) for key, text in run.params.items()}
        try:
            _check_settings(values, search)
            point = point_of(search.config.space, values, base)
        except OutsideError as error:
            left_out[f"with {error}"] += 1
            continue
        means = [run.metrics.get(metric, math.nan) for metric in search.config.metrics]
        if not all(math.isfinite(value) for value in means):
            left_out[f"without a finite {', '.join(search.config.metrics)}"] += 1
            continue
        seeds = _seeds_of(run, search.base)
        if not seeds.isdisjoint(search.confirm_seeds):
            left_out[CONFIRMING] += 1
            continue
        search.observed_seeds.update(seeds)
        same = next((of_point for known, of_point in found if known == point), None)
        if same is None:
            found.append((point, [(run.run_id, means)]))
        else:
            same.append((run.run_id, means))
    return [
        Observation(
            point=point,
            values=[fmean(of_metric) for of_metric in zip(*(values for _, values in of), strict=True)],
            runs=[run for run, _ in of],
        )
        for point, of in found
    ]


def _check_settings(values: Mapping[str, Any], search: Search) -> None:
    """Raise OutsideError for a training with another value of a key that the space does not vary."""
    ours = _settings(flatten(search.base.model_dump(mode="json")), search)
    theirs = _settings(values, search)
    for key in dict.fromkeys([*ours, *theirs]):
        if key not in theirs or key not in ours or theirs[key] != ours[key]:
            raise OutsideError(f"another {key}")


def check_warm_start(search: Search) -> None:
    """Raise ConfigError where observations would change nothing."""
    if search.strategy.warm_start and search.strategy.searcher != "tpe":
        raise ConfigError(
            f"search.warm_start=true: has no effect with search.searcher={search.strategy.searcher}, which draws its "
            "points whatever trainings gave; use search=tpe or search=tpe_asha"
        )
