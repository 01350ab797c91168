"""Learning rate range test (Smith 2015, arXiv 1506.01186, section 3.3): the loss while the rate grows exponentially."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fcos.build import build_detector, build_train_state
from fcos.config.parse import with_keys
from fcos.config.run import Config
from fcos.data.batching import Batching, WorkerShare
from fcos.data.coco import make_dataset
from fcos.data.loader import train_batches
from fcos.data.prepare import prepare, splits_with_masks
from fcos.data.shared_memory import check_shared_memory
from fcos.device import to_device
from fcos.errors import ConfigError
from fcos.runtime import Runtime
from fcos.structures import Batch
from fcos.training.batch_norms import check_batch_norms
from fcos.training.optim import make_lr_scheduler
from fcos.training.step import TrainState, train_step
from fcos.training_run import seed_everything
from fcos.weights.begin import begin_from_weights

# Share of the past in the smoothed loss.
SMOOTHING = 0.9
# The test ends where the smoothed loss is so many times its lowest value.
BLOWN_UP = 4.0
# The rate to take lies this factor below that of the lowest loss (Howard and Gugger 2020, Deep Learning for Coders with
# fastai and PyTorch, chapter 5), where the loss still falls; the lowest loss itself is at the edge of what diverges.
BELOW_LOWEST = 10.0


@dataclass(frozen=True)
class RangeTest:
    """Rate and smoothed loss of each step, until the loss blew up or the rates were used up."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def lowest(self) -> float:
        """The rate at which the smoothed loss was lowest."""
        return self.rates[self.losses.index(min(self.losses))]

    @property
    def suggestion(self) -> float:
        """The rate to take as the highest of a schedule."""
        return self.lowest / BELOW_LOWEST

    @property
    def blew_up(self) -> bool:
        """Whether rates beyond those that train were reached."""
        return self.losses[-1] >= BLOWN_UP * min(self.losses)


def smoothed(losses: list[float]) -> list[float]:
    """Return the exponential moving average of losses, without the pull of its start towards zero."""
    average, values = 0.0, []
    for count, loss in enumerate(losses, start=1):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        values.append(average / (1 - SMOOTHING**count))
    return values


def run_range_test(
    config: Config,
    runtime: Runtime,
    *,
    steps: int,
    low: float,
    high: float,
    progress: Callable[[int, float, float], None],
) -> RangeTest:
    """Train `steps` steps from rate `low` to `high` on one worker, and return the loss by rate; nothing is evaluated.

    The rate is that of head and pyramid, the backbone's follows by schedule.backbone_lr_factor. `progress` is called
    with step, rate and smoothed loss. Raises ConfigError for a user's mistake.
    """
    if not 0 < low < high or steps < 2:
        raise ConfigError(
            f"low={low:g}, high={high:g}, steps={steps}: rates must rise from above 0, in two steps or more"
        )
    schedule = {"steps": steps, "lr": low, "warmup_steps": 0, "decay": "none", "milestones": [], "ema": None}
    config = with_keys(config, {f"schedule.{key}": value for key, value in schedule.items()})
    growth = (high / low) ** (1 / (steps - 1))
    state, batches = _begin(config, runtime, lambda step: growth**step)
    rates: list[float] = []
    losses: list[float] = []
    for step in range(1, steps + 1):
        rate = state.optimizer.param_groups[0]["lr"]
        micro_batches = [to_device(batch, runtime.device) for batch in next(batches)]
        loss = train_step(state, micro_batches)[0].item()
        if not math.isfinite(loss):
            break
        rates.append(rate)
        losses.append(loss)
        current = smoothed(losses)
        progress(step, rate, current[-1])
        if current[-1] > BLOWN_UP * min(current):
            break
    if not losses:
        raise ConfigError(f"low={low:g}: the loss is not finite at the first step already; give a lower one")
    return RangeTest(tuple(rates), tuple(smoothed(losses)))


def _begin(
    config: Config, runtime: Runtime, factor: Callable[[int], float]
) -> tuple[TrainState, Iterator[list[Batch]]]:
    """Return what a training begins with, its rate multiplied by the factor of each step, and its batches.

    Raises ConfigError for what a training of the config is refused for.
    """
    seed_everything(config.resolved_seeds.weights, config.schedule.deterministic)
    assignment, batching = config.model.assignment, Batching.of(config)
    masks = splits_with_masks(assignment, [], training=True, augmentation=config.data.augmentation)
    data = prepare(config.data, box_convention=assignment.corners, masks=masks)
    seed = config.resolved_seeds.augmentation
    dataset = make_dataset(data, "train", config.data, training=True, seed=seed, masks=assignment.by_masks)
    check_batch_norms(config, dataset.sample_sizes, workers=1)
    images = batching.batch_size // batching.accumulate
    check_shared_memory([dataset.sample_sizes], config.data, images=images, divisor=batching.size_divisor)
    detector = build_detector(config.model, len(data.classes), channels_last=config.schedule.channels_last)
    begin_from_weights(detector, config.model, data.classes)
    state = build_train_state(config, detector, runtime)
    batches = train_batches(
        dataset,
        batching,
        WorkerShare(),
        seed=config.resolved_seeds.order,
        start_step=0,
        num_workers=config.data.num_workers,
        pin_memory=runtime.device.type == "cuda",
    )
    return replace(state, scheduler=make_lr_scheduler(state.optimizer, factor)), batches


def draw_range_test(test: RangeTest, path: Path) -> None:
    """Draw the smoothed loss by rate, with the rate of the lowest loss and the one to take."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axis = figure.subplots()
    axis.semilogx(test.rates, test.losses, color="#0072b2")
    axis.axvline(test.lowest, color="#59636e", linestyle=":", label=f"lowest loss: {test.lowest:.2g}")
    axis.axvline(test.suggestion, color="#d55e00", label=f"to take: {test.suggestion:.2g}")
    axis.set(
        xlabel="learning rate",
        ylabel="training loss, smoothed",
        ylim=(0, 1.1 * max(test.losses[: len(test.losses) // 2 + 1])),
    )
    axis.set_title("Learning rate range test (Smith 2015)", fontsize=10)
    axis.legend(fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
