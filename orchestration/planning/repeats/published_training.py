"""Plan a training of a published archive once more, and compare what comes out."""

import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.special import stdtrit

from fcos.config.parse import flatten, parse, set_value, with_keys
from fcos.config.paths import is_weights_file
from fcos.config.run import Config
from fcos.errors import ConfigError
from fcos.published.layout import POINTS
from fcos.published.records import PublishedRun, order_point, read_points
from fcos.published.trials import PublishedTrial, list_trials
from fcos.storage.store_conventions import MetricPrefix, RunKind, Tag
from orchestration.config.schema import LabConfig
from orchestration.planning.plan import Plan
from orchestration.trial.retries import memory_tags
from orchestration.trial.task import MicroBatching

# Share of trainings of other seeds that would be judged to be beyond the spread, over all metrics together.
LEVEL = 0.05
# Keys that an archive has neutral words for.
CACHE, ROOT, WEIGHTS, BACKBONE = "data.cache_dir", "data.root", "model.weights", "model.backbone.weights"
# Trials that a message names.
MOST_LABELS = 20


@dataclass(frozen=True)
class LocalPaths:
    """Where the data and the weights that a training begins from are here, as an archive holds neither."""

    root: str | None = None
    weights: str | None = None


@dataclass(frozen=True)
class Original:
    """A finished training of an archive that is to be done again.

    metrics: at its last step. deviations: of its arm over several seeds, so many as `seeds`.
    """

    trial: PublishedTrial
    config: Config
    metrics: Mapping[str, float]
    deviations: Mapping[str, float]
    seeds: int

    @property
    def label(self) -> str:
        """Arm and seed, for people."""
        return self.trial.label


@dataclass(frozen=True)
class Retrained:
    """How a training that was done again compares. holds: equal, or within the spread where it may differ."""

    holds: bool
    lines: tuple[str, ...]


def find_training(folder: Path, arm: str | None, seed: int | None, paths: LocalPaths) -> Original:
    """Return the trial of an arm and seed, by default the first of the lowest seed, as it is trained here.

    Raises ConfigError where there is none, for one that went on from another training's checkpoint, and for a
    configuration that needs other paths, hides more than these, or is none of this version.
    """
    trials = [trial for trial in list_trials(folder) if _may_be_trained(trial)]
    matching = [
        trial for trial in trials if arm in (None, trial.run.tags.get(Tag.ARM)) and seed in (None, _seed_of(trial.run))
    ]
    if not matching:
        known = ", ".join(sorted({trial.label for trial in trials})[:MOST_LABELS])
        raise ConfigError(
            f"--arm={arm} --seed={seed}: no finished training of it in the archive; there: {known or 'none'}"
        )
    chosen = min(matching, key=lambda trial: (trial.is_extended, _seed_of(trial.run), trial.run.tags.get(Tag.ARM, "")))
    if chosen.is_extended:
        raise ConfigError(
            f"{chosen.label}: went on from a checkpoint of another training (extend), which the archive does not hold, "
            "so that it cannot be trained again; choose another one with --arm and --seed"
        )
    of_arm = [each for each in trials if each.run.tags.get(Tag.ARM) == chosen.run.tags.get(Tag.ARM)]
    metrics = {trial.folder: _read_final(trial.folder) for trial in of_arm if not trial.is_extended}
    return Original(
        trial=chosen,
        config=parse(Config, _fill_in(chosen.read_config(), paths)),
        metrics=metrics[chosen.folder],
        deviations=_measure_deviations(list(metrics.values())),
        seeds=len(metrics),
    )


def _may_be_trained(trial: PublishedTrial) -> bool:
    kind = trial.run.tags.get(Tag.KIND)
    return trial.is_finished and trial.has_config and not trial.is_count and kind in (RunKind.TRIAL, RunKind.RUN)


def _seed_of(run: PublishedRun) -> int:
    text = run.tags.get(Tag.SEED, "")
    return int(text) if text.isdecimal() else 0


def _read_final(folder: Path) -> dict[str, float]:
    """Return the last value of each validation metric."""
    points = [point for point in read_points(folder / POINTS) if point.key.startswith(MetricPrefix.VAL)]
    return {point.key: point.value for point in sorted(points, key=order_point)}


def _measure_deviations(of_seeds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    keys = set.intersection(*(set(each) for each in of_seeds))
    return {key: statistics.stdev(each[key] for each in of_seeds) for key in keys} if len(of_seeds) > 1 else {}


def _fill_in(values: dict[str, Any], paths: LocalPaths) -> dict[str, Any]:
    """Return the values of a configuration with the paths of this machine.

    Raises ConfigError where one is needed and missing, where one has no effect, and for other values that were hidden.
    """
    values, flat = set_value(values, CACHE, None), flatten(values)
    beginning = [key for key in (WEIGHTS, BACKBONE) if _names_file(key, flat.get(key))]
    for option, given, keys in (
        ("--data-root", paths.root, [ROOT] if flat.get(ROOT) is not None else []),
        ("--weights", paths.weights, beginning),
    ):
        if given is not None and not keys:
            what = "reads no data of a folder" if option == "--data-root" else "begins from no file of weights"
            raise ConfigError(f"{option}={given}: has no effect, as the training {what}; leave it out")
        for key in keys:
            if given is not None:
                values = set_value(values, key, given)
            elif _is_hidden(flat[key]):
                raise ConfigError(f"{key}: the archive does not hold it; give {option}=<where it is here>")
    for key, text in _iterate_hidden(values):
        if text not in (paths.root, paths.weights):
            raise ConfigError(f"{key}={text}: the archive does not hold it, so that it cannot be trained again")
    return values


def _names_file(key: str, value: Any) -> bool:
    """Return whether a training begins from a file or folder that a key names, and not from a published set."""
    return isinstance(value, str) and (key == WEIGHTS or _is_hidden(value) or is_weights_file(value))


def _is_hidden(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("<")


def _iterate_hidden(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield key and text of each value that a publisher hid."""
    for key, value in flatten(values).items():
        yield from ((key, text) for text in (value if isinstance(value, list) else [value]) if _is_hidden(text))


def make_lab(lab: LabConfig, original: Original) -> LabConfig:
    """Return the command's config with the archive's training in place of its own, and the cache of this machine."""
    config = with_keys(original.config, {CACHE: lab.data.cache_dir})
    sections = {name: getattr(config, name) for name in Config.model_fields}
    name = lab.name or f"retrained-{original.trial.run.run_id[:8]}"
    return lab.model_copy(update={**sections, "experiment": None, "name": name})


def compare_results(original: Original, metrics: Mapping[str, float], plan: Plan, hardware: str) -> Retrained:
    """Compare the metrics of a training that was done again with those in the archive. hardware: of this machine."""
    common = sorted(key for key in metrics.keys() & original.metrics if not key.startswith(MetricPrefix.COST))
    different = [key for key in common if metrics[key] != original.metrics[key]]
    surroundings = _describe_surroundings(original, plan, hardware)
    if common and not different:
        return Retrained(True, (f"{len(common)} metrics of {original.label}, equal to the last digit", *surroundings))
    bound = _bound_deviations(original.seeds, len(common))
    apart = [key for key in different if not _is_within(original, key, metrics[key], bound)]
    lines = [_describe_metric(original, key, metrics[key]) for key in (apart or different)[:5]]
    if not common:
        lines = ["no metric that both have"]
    # On the same machine with the same code nothing may differ.
    holds = bool(common) and not apart and bool(surroundings)
    judgement = "within the spread of its seeds" if not apart else "beyond the spread of its seeds"
    head = f"{len(different)} of {len(common)} metrics of {original.label} differ, {judgement}"
    return Retrained(holds, (head, *lines, *surroundings))


def _bound_deviations(seeds: int, metrics: int) -> float:
    """Return how many sample deviations of several seeds another seed may be from one of them in any of the metrics.

    Student's t of two values of one normal distribution, with Bonferroni's bound for all metrics together; 0 where one
    seed gives no deviation.
    """
    return float(stdtrit(seeds - 1, 1 - LEVEL / (2 * metrics))) * math.sqrt(2) if seeds > 1 and metrics else 0.0


def _is_within(original: Original, key: str, value: float, bound: float) -> bool:
    deviation = original.deviations.get(key)
    return deviation is not None and abs(value - original.metrics[key]) <= bound * deviation


def _describe_metric(original: Original, key: str, value: float) -> str:
    deviation = original.deviations.get(key, math.nan)
    return (
        f"{key}: {value:.6g}, in the archive {original.metrics[key]:.6g}, sample deviation of the arm {deviation:.2g}"
    )


def _describe_surroundings(original: Original, plan: Plan, hardware: str) -> list[str]:
    """Return what was not as it was in the archive, by which numbers may differ."""
    tags, trial = original.trial.run.tags, plan.trials[0]
    lines = []
    if tags.get(Tag.TRAIN_IDENTITY) != trial.identity:
        pairs = {
            "the code": (tags.get(Tag.CODE), plan.provenance.code),
            "package versions": (tags.get(Tag.VERSIONS), json.dumps(dict(plan.provenance.versions), sort_keys=True)),
            "the data": (tags.get(Tag.DATA_DIGEST), trial.data_digest),
        }
        names = [name for name, (theirs, ours) in pairs.items() if theirs != ours]
        lines.append(f"its identity is another, by {', '.join(names) or 'settings of this version'}")
    if tags.get(Tag.HARDWARE) != hardware:
        lines.append(f"trained on {hardware}, in the archive on {tags.get(Tag.HARDWARE) or 'unknown hardware'}")
    own = memory_tags(plan.folder_of(trial), MicroBatching.of(trial.config))
    for where, theirs in (("in the archive", tags), ("here", own)):
        if count := theirs.get(Tag.ACCUMULATE):
            why = f", with other {theirs[Tag.INEXACT]}" if Tag.INEXACT in theirs else ""
            lines.append(f"{where} it went on with {count} micro-batches a step for want of memory{why}")
    return lines
