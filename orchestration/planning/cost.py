"""What a plan will cost, from trainings of the store that are like it (pure)."""

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcos.config.parse import flatten
from orchestration.cli.progress import clock
from orchestration.cluster.resources import Demand
from orchestration.experiment.identity import RUN_ONLY, without
from orchestration.experiment.trials import Trial
from orchestration.store_conventions import Tag
from orchestration.tracking.history import PastRun
from orchestration.tracking.store import param_text

# Of the newest runs like a training; older ones ran on older code.
RUNS = 10
# Keys that do not change how long a step takes.
FREE = (
    *RUN_ONLY,
    "seed",
    "model.postprocess",
    "model.head.prior",
    *(
        f"schedule.{name}"
        for name in (
            "steps",
            *("lr", "lr_per_16_images", "momentum", "weight_decay", "decay_one_axis"),
            *("warmup", "warmup_steps", "warmup_factor", "decay", "milestones", "decay_factor", "clip_norm"),
        )
    ),
)
# What a step's time mostly follows from, where no run is the same in all the others.
MAIN = ("model.backbone", "model.fpn", "model.head.num_convs", "model.levels", "data", "schedule")


@dataclass(frozen=True)
class Pace:
    """Seconds of a step, evaluations and checkpoints included, and where that is known from."""

    seconds: float
    source: str


def pace_of(trial: Trial, runs: Sequence[PastRun], hardware: str, resources: str) -> Pace | None:
    """The median pace of the newest finished runs like a training on the same hardware, or None."""
    timed = [
        run
        for run in runs
        if run.tags.get(Tag.HARDWARE) == hardware
        and run.tags.get(Tag.RESOURCES) == resources
        and float(run.tags.get(Tag.STEPS_TIMED, 0)) > 0
    ]
    ours = {key: param_text(value) for key, value in flatten(without(trial.config, FREE)).items()}
    ways = (("the same model and schedule", tuple(ours)), ("a similar model", tuple(filter(_is_main, ours))))
    for words, keys in ways:
        like = [run for run in timed if all(run.params.get(key) == ours[key] for key in keys)][:RUNS]
        if like:
            paces = [float(run.tags[Tag.SECONDS]) / float(run.tags[Tag.STEPS_TIMED]) for run in like]
            count = "1 finished run" if len(like) == 1 else f"{len(like)} finished runs"
            return Pace(statistics.median(paces), f"{count} of {words} on this hardware, the newest {like[0].name}")
    return None


def _is_main(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in MAIN)


def wall_seconds(seconds: Sequence[float], abreast: int) -> float:
    """How long trainings take that run so many side by side, each begun when a place is free."""
    ends = [0.0] * max(1, abreast)
    for each in seconds:
        place = ends.index(min(ends))
        ends[place] += each
    return max(ends)


def estimate_lines(paces: Mapping[str, Pace | None], left: Mapping[str, int], abreast: int, need: Demand) -> list[str]:
    """The cost in words; `paces` and steps that are `left` by the identity of a training that is to run."""
    known = {identity: pace for identity, pace in paces.items() if pace is not None}
    missing = len(paces) - len(known)
    lines = []
    if known:
        seconds = [pace.seconds * left[identity] for identity, pace in known.items()]
        hours = sum(seconds) / 3600 * need.workers
        gpu = f" and {hours * need.gpus:.3g} GPU-hours" if need.gpus else ""
        total = f"{clock(wall_seconds(seconds, abreast))} of wall time, {hours * need.cpus:.3g} CPU-hours{gpu}"
        lines.append(f"estimate: {total}, without start-up")
        lines += [f"  from {source}" for source in dict.fromkeys(pace.source for pace in known.values())]
    if missing:
        which = "the trainings" if not known else f"{missing} of the {len(paces)} trainings that run"
        lines.append(f"no finished run is like {which} on this hardware; probe=true times a few steps of them")
    return lines


def speed_key(trial: Trial) -> tuple[Any, ...]:
    """Equal for trainings whose steps take equally long."""
    return tuple((key, param_text(value)) for key, value in flatten(without(trial.config, FREE)).items())


STEPS = 12
# The first steps set up what later ones reuse.
WARM_UP = 4


def probe(trial: Trial, need: Demand) -> Pace:
    """The pace of one worker with its share of a batch; evaluations and checkpoints are not counted."""
    import torch

    from fcos.config.parse import parse
    from fcos.config.run import Config
    from fcos.device import pick_device
    from fcos.runtime import LocalRuntime
    from fcos.train import run

    config = parse(Config, short_config(trial, need.workers))
    told: list[float] = []

    def listen(record: dict[str, Any]) -> None:
        told.extend(
            value for _, key, step, value in record["points"] if key == "train/images_per_second" and step > WARM_UP
        )

    threads = torch.get_num_threads()
    torch.set_num_threads(need.cpus)
    try:
        with tempfile.TemporaryDirectory() as folder:
            run(config, LocalRuntime(Path(folder), pick_device(need.device), listen))
    finally:
        torch.set_num_threads(threads)
    seconds = sum(config.schedule.batch_size / speed for speed in told) / len(told)
    return Pace(seconds, f"a probe: {STEPS - WARM_UP} steps timed now, one training at a time, without evaluations")


def short_config(trial: Trial, workers: int) -> dict[str, Any]:
    """A trial's config for one worker, a few steps and a single validation image."""
    schedule = {
        **trial.config["schedule"],
        "batch_size": max(1, trial.config["schedule"]["batch_size"] // workers),
        "steps": STEPS,
        "warmup_steps": 0,
        "milestones": [],
        "decay": "none",
        "log_every": WARM_UP,
        "eval_every": None,
        "checkpoint_every": STEPS,
    }
    return {**trial.config, "schedule": schedule, "data": {**trial.config["data"], "limit_val": 1}}
