"""Whether a search that is given the trainings of an earlier one finds more: python benchmarks/warm_start.py

Searches on drawn shapes, each of a space with more keys than that of an earlier search: two that train (AP), and one
for level ranges and a radius that reach the boxes (the objective of task=coverage). TPE draws the same number of points
with the earlier ones and without (search.warm_start), with several generator seeds. It draws at random until it knows
ten points: without the earlier ones it is a search of its own from the eleventh on. All runs are real, one after
another in this process. Prints the best value after n points, in percent.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch

from fcos.config.evaluation import EvaluationSettings
from fcos.config.parse import flatten, with_keys
from fcos.config.run import Config
from fcos.coverage import run as coverage
from fcos.errors import ConfigError
from fcos.runtime import LocalRuntime
from fcos.training_run import run
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.config.search import Distribution, StrategyConfig
from orchestration.search.observations import OutsideError, point_of
from orchestration.search.samplers import propose
from orchestration.search.space import Point, point_keys

Space = Mapping[str, Distribution]
Known = list[tuple[Point, Sequence[float] | None]]
# Points that TPE draws at random before it has a model (Optuna's n_startup_trials).
RANDOM_POINTS = 10
TINY = (
    "model.backbone.widths=[16,16,16,16,16]",
    "model.fpn.channels=16",
    "model.head.num_convs=1",
    "data.synthetic.image_size=64",
    "data.synthetic.train_images=200",
    "data.synthetic.val_images=60",
    "data.synthetic.object_size=[10,40]",
    "data.num_workers=0",
)
RATE = {"schedule.lr_per_16_images": Distribution(loguniform=(0.002, 0.05))}
WEIGHTS = {
    "model.loss.regression_weight": Distribution(loguniform=(0.5, 4.0)),
    "model.loss.quality_weight": Distribution(loguniform=(0.25, 2.0)),
}


@dataclass(frozen=True)
class Spaces:
    """What an earlier search varied, and what a later one varies too."""

    earlier: Space
    more: Space
    task: str = "train"


SEARCHES = {
    "coverage": Spaces(
        {"model.assignment.ranges": Distribution(ranges=(4, 100, 3))},
        {"model.assignment.center_sampling_radius": Distribution(uniform=(0.5, 3.0))},
        "coverage",
    ),
    "assignment": Spaces(
        {
            **RATE,
            "model.assignment.ranges": Distribution(ranges=(16, 128, 3)),
            "model.assignment.center_sampling_radius": Distribution(choice=(None, 1.0, 1.5, 2.0)),
        },
        WEIGHTS,
    ),
    "recipe": Spaces(
        {
            **RATE,
            "schedule.weight_decay": Distribution(loguniform=(0.0001, 0.3)),
            "schedule.clip_norm": Distribution(loguniform=(0.5, 20.0)),
        },
        WEIGHTS,
    ),
}


def evaluate(config: Config, runtime: LocalRuntime) -> float:
    """Return the objective of a coverage run, or the AP of a training."""
    if config.task == "coverage":
        arms = {"": EvaluationSettings.of(config)}
        return coverage.run(config, runtime, arms).metrics[""]["coverage/objective"]
    return run(config, runtime).metrics[""]["val/AP"]


def search(base: Config, space: Space, given: Known, seed: int, trials: int) -> Known:
    """Run the points that TPE draws, knowing some; return them with their values."""
    strategy = StrategyConfig(searcher="tpe", seed=seed)
    found: Known = []
    refused: Known = []
    while len(found) < trials:
        draws = len(found) + len(refused)
        point = propose(strategy, space, ("max",), [*given, *refused, *found], sampled=draws)
        try:
            config = with_keys(base, point_keys(space, point))
        except ConfigError:
            refused.append((point, None))
            continue
        with tempfile.TemporaryDirectory() as folder:
            value = evaluate(config, LocalRuntime(Path(folder), torch.device("cpu"), lambda record: None))
        found.append((point, [value]))
    return found


def observed(base: Config, before: Space, earlier: Known, space: Space) -> Known:
    """Return the points of an earlier search as those of a later one, as search.warm_start does."""
    values = flatten(base.model_dump(mode="json"))
    seen: Known = []
    for point, value in earlier:
        theirs = flatten(with_keys(base, point_keys(before, point)).model_dump(mode="json"))
        try:
            seen.append((point_of(space, theirs, values), value))
        except OutsideError:
            continue
    return seen


def running_best(found: Known) -> list[float]:
    """Return the best value, in percent, after each point."""
    values = [100 * value[0] for _, value in found if value is not None]
    return [max(values[: count + 1]) for count in range(len(values))]


def compose_base(steps: int, task: str, *words: str) -> Config:
    """Return what the points of a search are set in."""
    schedule = [f"schedule.{key}={steps}" for key in ("steps", "eval_every", "checkpoint_every", "log_every")]
    words = (*TINY, *schedule, f"schedule.warmup_steps={steps // 4}", f"task={task}", *words)
    return compose(check_overrides(words)).training


def compare(name: str, base: Config, num_earlier: int, trials: int, seeds: int) -> dict[str, list[list[float]]]:
    """Print the best values after each point with the earlier points and without; return them by way and seed."""
    spaces = SEARCHES[name]
    space = {**spaces.earlier, **spaces.more}
    earlier = search(base, spaces.earlier, [], 100, num_earlier)
    given = observed(base, spaces.earlier, earlier, space)
    print(f"{name}: {len(given)} points given, the best of them {running_best(earlier)[-1]:.1f}", flush=True)
    ways: dict[str, list[list[float]]] = {"cold": [], "warm": []}
    for seed in range(seeds):
        for way, known in (("cold", []), ("warm", given)):
            ways[way].append(running_best(search(base, space, known, seed, trials)))
            print(f"  {way}, seed {seed}: {' '.join(f'{ap:.1f}' for ap in ways[way][-1])}", flush=True)
    for way, curves in ways.items():
        means = [fmean(of_count) for of_count in zip(*curves, strict=True)]
        print(f"  {way}, mean: {' '.join(f'{ap:.1f}' for ap in means)}", flush=True)
    return ways


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--earlier", type=int, default=16, help="points of the earlier search")
    parser.add_argument("--trials", type=int, default=2 * RANDOM_POINTS, help=f"more than {RANDOM_POINTS}")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--only", choices=list(SEARCHES))
    options = parser.parse_args()
    if options.trials <= RANDOM_POINTS:
        parser.error(f"--trials {options.trials}: TPE draws {RANDOM_POINTS} points at random where it is given none")
    torch.set_num_threads(1)
    for name in [options.only] if options.only else SEARCHES:
        base = compose_base(options.steps, SEARCHES[name].task)
        compare(name, base, options.earlier, options.trials, options.seeds)


if __name__ == "__main__":
    main()
