"""Cost of a plan: from finished trainings of the store that are like it, or from a probe of a few steps."""

import heapq
import math
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fcos.config.parse import flatten, with_keys
from fcos.config.run import Config
from fcos.storage.run_folder import ProgressRecord
from fcos.storage.store_conventions import RUN_ONLY, Tag, param_text
from orchestration.cli.console import format_duration
from orchestration.cluster.resources import Demand
from orchestration.experiment.identity import EVALUATION_ONLY, without
from orchestration.experiment.prefixes import Prefixes
from orchestration.experiment.trials import Trial
from orchestration.tracking.history import PastRun

# Of the newest runs like a training; older ones ran on older code.
RUNS = 10
# Keys that do not change how long a step takes.
FREE = (
    *RUN_ONLY,
    "seed",
    "seeds",
    "model.weights",
    "model.weights_sha256",
    "model.backbone.weights",
    "model.backbone.weights_sha256",
    *EVALUATION_ONLY,
    "model.head.prior",
    *(
        f"schedule.{name}"
        for name in (
            "steps",
            *("lr", "lr_per_16_images", "backbone_lr_factor", "momentum", "weight_decay", "decay_one_axis"),
            *("warmup", "warmup_steps", "warmup_factor", "decay", "milestones", "decay_factor", "clip_norm"),
        )
    ),
)
# What a step's time mostly follows from, where no run is the same in all the others.
MAIN = ("model.backbone", "model.fpn", "model.head.num_convs", "model.levels", "data", "schedule")


_Texts = tuple[str, ...]


@dataclass(frozen=True)
class Pace:
    """Seconds of a step, evaluations and checkpoints included, and the source of that number."""

    seconds: float
    source: str


class PastPaces:
    """The paces of finished runs on the same hardware with the same share of it, the newest first.

    Runs are looked up by the values of a training's keys: a plan may have thousands of trainings, and a store of runs.
    """

    def __init__(self, runs: Sequence[PastRun], hardware: str, resources: str) -> None:
        """Create it for the newest finished runs of a store."""
        here = (
            (run, _seconds_of_step(run))
            for run in runs
            if run.tags.get(Tag.HARDWARE) == hardware and run.tags.get(Tag.RESOURCES) == resources
        )
        self._timed = [(run, seconds) for run, seconds in here if seconds is not None]
        # Keys -> their values -> the newest runs that have these.
        self._by_values: dict[_Texts, dict[tuple[str | None, ...], list[tuple[PastRun, float]]]] = {}

    def of(self, trial: Trial) -> Pace | None:
        """Return the median pace of the newest runs like a training, or None."""
        ours = {key: param_text(value) for key, value in flatten(without(trial.values, FREE)).items()}
        main = {key: text for key, text in ours.items() if is_main(key)}
        for description, settings in (("the same model and schedule", ours), ("a similar model", main)):
            like = self._runs_like(settings)
            if like:
                paces = [pace for _, pace in like]
                count = "1 finished run" if len(like) == 1 else f"{len(like)} finished runs"
                newest = like[0][0].name
                source = f"{count} of {description} on this hardware, the newest {newest}"
                return Pace(statistics.median(paces), source)
        return None

    def _runs_like(self, settings: Mapping[str, str]) -> Sequence[tuple[PastRun, float]]:
        keys = tuple(settings)
        if keys not in self._by_values:
            runs = self._by_values[keys] = {}
            for run, seconds in self._timed:
                same = runs.setdefault(tuple(run.params.get(key) for key in keys), [])
                if len(same) < RUNS:
                    same.append((run, seconds))
        return self._by_values[keys].get(tuple(settings.values()), ())


def _seconds_of_step(run: PastRun) -> float | None:
    """Return the pace of a run; None where it records none, or where its tags were edited and are no numbers."""
    try:
        seconds = float(run.tags[Tag.SECONDS]) / int(run.tags[Tag.STEPS_TIMED])
    except (KeyError, ValueError, ZeroDivisionError):
        return None
    return seconds if 0 <= seconds < math.inf else None


def is_main(key: str) -> bool:
    """Return whether a dotted key is one that a step's time mostly follows from."""
    return any(key == name or key.startswith(f"{name}.") for name in MAIN)


@dataclass(frozen=True)
class SeedCost:
    """What all arms of one seed cost, in hours of `unit` (GPU-hours or CPU-hours)."""

    hours: float
    unit: str


def cost_of_seed(
    trials: Sequence[Trial], paces: Sequence[Pace | None], prefixes: Prefixes, resources: Demand
) -> SeedCost | None:
    """Return what trainings of one seed cost at their paces; None where one is unknown.

    Steps that one takes from another are counted once.
    """
    seconds = 0.0
    for trial, pace in zip(trials, paces, strict=True):
        if pace is None:
            return None
        seconds += pace.seconds * (trial.config.schedule.steps - prefixes.steps_of(trial))
    each, unit = (resources.gpus, "GPU-hours") if resources.gpus else (resources.cpus, "CPU-hours")
    return SeedCost(seconds / 3600 * resources.workers * each, unit)


def wall_seconds(seconds: Sequence[float], max_concurrent: int) -> float:
    """Return how long trainings take of which so many run at the same time."""
    ends = [0.0] * max(1, max_concurrent)
    for each in seconds:
        heapq.heapreplace(ends, ends[0] + each)
    return max(ends)


# The trainings of a plan that an estimate is of; "" for all of them.
Part = Literal["", "until the next look", "at most"]


@dataclass(frozen=True)
class Estimate:
    """Cost of trainings that are to run, without start-up; of all of them where `known` is their number.

    part: of the plan that it is of; empty for all of it. gpu_hours: None without GPUs.
    """

    part: Part
    trainings: int
    known: int
    wall_seconds: float
    cpu_hours: float
    gpu_hours: float | None
    sources: tuple[str, ...]

    def lines(self) -> list[str]:
        """Describe the cost."""
        lines, of_part = [], f" {self.part}" if self.part else ""
        if self.known:
            gpu = "" if self.gpu_hours is None else f" and {self.gpu_hours:.3g} GPU-hours"
            total = f"{format_duration(self.wall_seconds)} of wall time, {self.cpu_hours:.3g} CPU-hours{gpu}"
            lines.append(f"estimate{of_part}: {total}, without start-up")
            lines += [f"  from {source}" for source in self.sources]
        if missing := self.trainings - self.known:
            which = "the trainings" if not self.known else f"{missing} of the {self.trainings} trainings that run"
            lines.append(f"no finished run is like {which} on this hardware; probe=true times a few steps of them")
        return lines


def make_estimate(
    paces: Mapping[str, Pace | None], left: Mapping[str, int], max_concurrent: int, resources: Demand, part: Part = ""
) -> Estimate:
    """Return the cost; `paces` and steps that are `left` by the identity of a training that is to run."""
    known = {identity: pace for identity, pace in paces.items() if pace is not None}
    seconds = [pace.seconds * left[identity] for identity, pace in known.items()]
    hours = sum(seconds) / 3600 * resources.workers
    return Estimate(
        part=part,
        trainings=len(paces),
        known=len(known),
        wall_seconds=wall_seconds(seconds, max_concurrent),
        cpu_hours=hours * resources.cpus,
        gpu_hours=hours * resources.gpus if resources.gpus else None,
        sources=tuple(dict.fromkeys(pace.source for pace in known.values())),
    )


def speed_key(trial: Trial) -> tuple[Any, ...]:
    """Return a key that is equal for trainings whose steps take equally long."""
    return tuple((key, param_text(value)) for key, value in flatten(without(trial.values, FREE)).items())


PROBE_STEPS = 12
# The first steps set up what later ones reuse.
WARM_UP_STEPS = 4


def probe(trial: Trial, resources: Demand) -> Pace:
    """Time a few steps of one worker with its share of a batch, in this process; evaluations are not counted."""
    import torch

    from fcos.device import pick_device
    from fcos.runtime import LocalRuntime
    from fcos.training_run import run

    config = short_config(trial, resources.workers)
    speeds: list[float] = []

    def on_report(record: ProgressRecord) -> None:
        speeds.extend(
            point.value
            for point in record.points
            if point.key == "train/images_per_second" and point.step > WARM_UP_STEPS
        )

    threads = torch.get_num_threads()
    torch.set_num_threads(resources.cpus)
    try:
        with tempfile.TemporaryDirectory() as folder:
            run(config, LocalRuntime(Path(folder), pick_device(resources.device), on_report))
    finally:
        torch.set_num_threads(threads)
    seconds = sum(config.schedule.batch_size / speed for speed in speeds) / len(speeds)
    timed = PROBE_STEPS - WARM_UP_STEPS
    return Pace(seconds, f"a probe: {timed} steps timed now, one training at a time, without evaluations")


def short_config(trial: Trial, workers: int) -> Config:
    """Return a trial's config for one worker, a few steps and a single validation image."""
    keys: dict[str, Any] = {
        "schedule.batch_size": max(1, trial.config.schedule.batch_size // workers),
        "schedule.steps": PROBE_STEPS,
        "schedule.warmup_steps": 0,
        "schedule.milestones": [],
        "schedule.decay": "none",
        "schedule.log_every": WARM_UP_STEPS,
        "schedule.eval_every": None,
        "schedule.checkpoint_every": PROBE_STEPS,
        "data.limit_val": 1,
    }
    return with_keys(trial.config, keys)
