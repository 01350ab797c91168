"""A few steps of a training, timed in this process where no finished run says how long a step takes."""

import tempfile
from pathlib import Path
from typing import Any

from orchestration.estimate import Pace
from orchestration.experiment import Trial
from orchestration.resources import Demand

STEPS = 12
# The first steps set up what later ones reuse.
WARM_UP = 4


def probe(trial: Trial, need: Demand) -> Pace:
    """The pace of one worker with its share of a batch; evaluations and checkpoints are not counted."""
    import torch

    from fcos.config import Config
    from fcos.parsing import parse
    from fcos.runtime import LocalRuntime, pick_device
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
