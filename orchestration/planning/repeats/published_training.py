"""Plan a training of a published archive once more, and compare what comes out."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import RootModel
from scipy.special import stdtrit

from fcos.config.parse import flatten, parse, set_value
from fcos.config.run import Config
from fcos.errors import ConfigError
from fcos.published.layout import POINTS, RUN, TRIALS
from fcos.published.records import PublishedRun, order_point, read_points, read_record
from fcos.storage.store_conventions import Artifact, MetricPrefix, RunKind, RunStatus, Tag
from orchestration.config.schema import LabConfig
from orchestration.experiment.data import PrepareData
from orchestration.planning.make_plan import make_single_plan
from orchestration.planning.plan import Plan

# Share of trainings of other seeds that would be judged to be beyond the spread, over all metrics together.
LEVEL = 0.05
# Keys that an archive has neutral words for.
CACHE, ROOT, WEIGHTS, BACKBONE = "data.cache_dir", "data.root", "model.weights", "model.backbone.weights"


class _Values(RootModel[dict[str, Any]]):
    """A configuration as plain values."""


@dataclass(frozen=True)
class PublishedTraining:
    """A finished trial of an archive.

    metrics: at its last step. deviations: of its arm over several seeds, so many as `seeds`.
    """

    run: PublishedRun
    values: dict[str, Any]
    metrics: Mapping[str, float]
    deviations: Mapping[str, float]
    seeds: int

    @property
    def label(self) -> str:
        """Arm and seed, for people."""
        return f"{self.run.tags.get(Tag.ARM) or self.run.name} seed {self.run.tags.get(Tag.SEED, '?')}"


@dataclass(frozen=True)
class Retrained:
    """How a training that was done again compares. holds: equal, or within the spread where it may differ."""

    holds: bool
    lines: tuple[str, ...]


def find_training(folder: Path, arm: str | None, seed: int | None) -> PublishedTraining:
    """Return the trial of an arm and seed, by default the first of the lowest seed; raises ConfigError without one."""
    trials: dict[Path, PublishedRun] = {}
    for path in sorted((folder / TRIALS).glob("*")):
        run = read_record(path / RUN, PublishedRun)
        is_current = run.status == RunStatus.FINISHED and Tag.SUPERSEDED not in run.tags
        has_result = is_current and (path / Artifact.CONFIG).is_file()
        if (
            has_result
            and run.params.get("task") != "coverage"
            and run.tags.get(Tag.KIND) in (RunKind.TRIAL, RunKind.RUN)
        ):
            trials[path] = run
    matching = {
        path: run
        for path, run in trials.items()
        if arm in (None, run.tags.get(Tag.ARM)) and seed in (None, _seed_of(run))
    }
    if not matching:
        known = ", ".join(sorted({f"{run.tags.get(Tag.ARM)} seed {_seed_of(run)}" for run in trials.values()})[:20])
        raise ConfigError(
            f"--arm={arm} --seed={seed}: no finished training of it in the archive; there: {known or 'none'}"
        )
    chosen = min(matching, key=lambda path: (_seed_of(matching[path]), matching[path].tags.get(Tag.ARM, "")))
    of_arm = [path for path, run in trials.items() if run.tags.get(Tag.ARM) == trials[chosen].tags.get(Tag.ARM)]
    values = read_record(chosen / Artifact.CONFIG, _Values).root
    metrics = {path: _read_final(path) for path in of_arm}
    deviations = _measure_deviations(list(metrics.values()))
    return PublishedTraining(trials[chosen], values, metrics[chosen], deviations, len(of_arm))


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


def make_lab(lab: LabConfig, training: PublishedTraining, root: str | None, weights: str | None) -> LabConfig:
    """Return the command's config with the archive's training in place of its own.

    root, weights: where the data and the weights that it begins from are here, as an archive holds neither.
    Raises ConfigError where they are needed and missing, for other values that were hidden, and for a config that this
    version does not know.
    """
    values = training.values
    for key, option, given in (
        (ROOT, "--data-root", root),
        (WEIGHTS, "--weights", weights),
        (BACKBONE, "--weights", weights),
    ):
        section, _, name = key.rpartition(".")
        value = _get(values, section).get(name)
        if isinstance(value, str) and value.startswith("<"):
            if given is None:
                raise ConfigError(f"{key}: the archive does not hold it; give {option}=<where it is here>")
            values = set_value(values, key, given)
    values = set_value(values, CACHE, lab.data.cache_dir)
    _check_hidden(values, root, weights)
    config = parse(Config, values)
    sections = {name: getattr(config, name) for name in Config.model_fields}
    return lab.model_copy(
        update={**sections, "experiment": None, "name": lab.name or f"retrained-{training.run.run_id[:8]}"}
    )


def _check_hidden(values: Mapping[str, Any], *given: str | None) -> None:
    """Raise ConfigError for a value that a publisher hid and that has no option; given: what stands for the others."""
    for key, value in flatten(values).items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and text.startswith("<") and text not in given:
                raise ConfigError(f"{key}={text}: the archive does not hold it, so that it cannot be trained again")


def _get(values: Mapping[str, Any], section: str) -> Mapping[str, Any]:
    for part in section.split("."):
        below = values.get(part)
        values = below if isinstance(below, Mapping) else {}
    return values


def plan_retraining(
    training: PublishedTraining, root: str | None, weights: str | None, lab: LabConfig, prepare_data: PrepareData
) -> Plan:
    """Return the plan of one run with the archive's configuration and seed."""
    return make_single_plan(make_lab(lab, training, root, weights), prepare_data)


def compare_results(training: PublishedTraining, metrics: Mapping[str, float], plan: Plan, hardware: str) -> Retrained:
    """Compare the metrics of a training that was done again with those in the archive. hardware: of this machine."""
    common = sorted(key for key in metrics.keys() & training.metrics if not key.startswith(MetricPrefix.COST))
    different = [key for key in common if metrics[key] != training.metrics[key]]
    surroundings = _describe_surroundings(training, plan, hardware)
    if common and not different:
        return Retrained(True, (f"{len(common)} metrics of {training.label}, equal to the last digit", *surroundings))
    bound = _bound_deviations(training.seeds, len(common))
    apart = [key for key in different if not _is_within(training, key, metrics[key], bound)]
    lines = [_describe_metric(training, key, metrics[key]) for key in (apart or different)[:5]]
    if not common:
        lines = ["no metric that both have"]
    # On the same machine with the same code nothing may differ.
    holds = bool(common) and not apart and bool(surroundings)
    judgement = "within the spread of its seeds" if not apart else "beyond the spread of its seeds"
    head = f"{len(different)} of {len(common)} metrics of {training.label} differ, {judgement}"
    return Retrained(holds, (head, *lines, *surroundings))


def _bound_deviations(seeds: int, metrics: int) -> float:
    """Return how many sample deviations of several seeds another seed may be from one of them in any of the metrics.

    Student's t of two values of one normal distribution, with Bonferroni's bound for all metrics together; 0 where one
    seed gives no deviation.
    """
    return float(stdtrit(seeds - 1, 1 - LEVEL / (2 * metrics))) * math.sqrt(2) if seeds > 1 and metrics else 0.0


def _is_within(training: PublishedTraining, key: str, value: float, bound: float) -> bool:
    deviation = training.deviations.get(key)
    return deviation is not None and abs(value - training.metrics[key]) <= bound * deviation


def _describe_metric(training: PublishedTraining, key: str, value: float) -> str:
    deviation = training.deviations.get(key, math.nan)
    return (
        f"{key}: {value:.6g}, in the archive {training.metrics[key]:.6g}, sample deviation of the arm {deviation:.2g}"
    )


def _describe_surroundings(training: PublishedTraining, plan: Plan, hardware: str) -> list[str]:
    """Return what was not as it was in the archive, by which numbers may differ."""
    tags, trial = training.run.tags, plan.trials[0]
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
    return lines
