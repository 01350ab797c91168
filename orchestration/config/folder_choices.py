"""The rules of data=auto: input size from the images, levels from the boxes, steps from the amount of data.

All but the number of processors are computed from the annotations and from constants, never from a measured time: the
same command trains the same on every machine.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float64

from fcos.annotations.annotations import Annotations
from fcos.config.model_parts import AssignmentConfig
from fcos.config.run import CoverageConfig
from fcos.coverage.boxes import InputBoxes, input_boxes
from fcos.coverage.counts import count
from fcos.coverage.measures import measures
from fcos.coverage.search_ranges import search_ranges
from orchestration.config.choice import Choice
from orchestration.config.start import Start

# Longest side of the input on a processor and on a GPU.
LONGEST: Final = {"cpu": 512, "gpu": 1333}
# What the shorter side of all but the smallest tenth of boxes should reach at the input: two cells of P3.
SMALL_BOX: Final = 16
# No input is smaller than this, unless the images are.
SHORTEST: Final = 320
# Images with small boxes are enlarged by this at most: the finest level has a location every 8 pixels of the input.
MOST_ENLARGED: Final = 2.0
SIDE_STEP: Final = 32
# Levels that are tried, and the number of images on which their ranges are searched.
LEVELS: Final[tuple[tuple[int, ...], ...]] = ((3, 4, 5), (3, 4, 5, 6), (3, 4, 5, 6, 7))
SEARCH_IMAGES: Final = 200
# Share of the boxes that must be found with the ranges of the model, or others are searched.
FOUND_BOXES: Final = 0.99
# Images that a training sees, repeats counted: of the smallest folders; where a processor lacks time; at most.
FEWEST_SEEN: Final = 2400
LEAST_SEEN: Final = 800
MOST_SEEN: Final = 160_000
# Share of the wanted steps that images are not enlarged below, on a processor.
ENOUGH_STEPS: Final = 0.75
MOST_PROCESSORS: Final = 8


@dataclass(frozen=True)
class TimeBound:
    """The minutes that a processor has for a start on so many images, in batches."""

    start: Start
    images: int
    batch: int
    minutes: float

    def is_enough_for(self, input_pixels: float) -> bool:
        """Return whether the minutes are enough for most of the wanted steps, on inputs of a mean number of pixels."""
        wanted = _within_bounds(_wanted_steps(self.images, self.batch, self.start), self.batch)
        affordable = _affordable_steps(self.batch, input_pixels, self.start, self.minutes)
        return affordable >= ENOUGH_STEPS * wanted


def input_size(train: Annotations, on_gpu: bool, time: TimeBound | None = None) -> Choice:
    """Choose data.short_sides and data.long_side: as small as the small boxes allow, within the reach of the device.

    Small images are enlarged for the sake of small boxes alone, and only as far as `time` leaves most of the steps;
    None sets no bound of time.
    """
    height, width = np.median(train.sizes, axis=0)
    short, long = np.median(train.sizes.min(axis=1)), np.median(train.sizes.max(axis=1))
    sides = _box_sides(train).min(axis=1)
    small = float(np.quantile(sides, 0.1))
    longest = LONGEST["gpu" if on_gpu else "cpu"]
    wanted = max(SMALL_BOX / max(small, 1.0), min(SHORTEST / short, 1.0))
    scale = min(wanted, longest / long, MOST_ENLARGED)
    wanted_side, own_side = (max(SIDE_STEP, _rounded(factor * short)) for factor in (scale, min(scale, 1.0)))
    short_side = wanted_side
    while time and short_side > own_side:
        if time.is_enough_for(input_pixels(train, (short_side, _long_side(train, short_side, longest)))):
            break
        short_side -= SIDE_STEP
    reached = small * short_side / short
    limit = "enlarged further they show no more"
    if longest / long < MOST_ENLARGED:
        limit = f"more than {longest} px is much for this device"
    if short_side < wanted_side:
        limit = f"a larger input leaves less than {ENOUGH_STEPS:.0%} of the wanted steps (auto.minutes)"
    cut = "" if reached >= SMALL_BOX else f"; {SMALL_BOX} px would be better, but {limit}"
    reason = (
        f"images of {width:.0f}x{height:.0f} px (median); the smallest tenth of boxes has a side below {small:.0f} px, "
        f"which becomes {reached:.0f} px at the input{cut}"
    )
    values = {"data.short_sides": [short_side], "data.long_side": _long_side(train, short_side, longest)}
    return Choice("input size", values, reason)


def _long_side(train: Annotations, short_side: int, longest: int) -> int:
    """Return the long side of the input that goes with a short one, at most the device's longest, rounded up.

    Longer images than all but a hundredth are made smaller, so that no batch is mostly padding.
    """
    aspect = float(np.quantile(train.sizes.max(axis=1) / train.sizes.min(axis=1), 0.99))
    return max(short_side, min(_rounded_up(short_side * aspect), 4 * short_side, _rounded_up(longest)))


@dataclass(frozen=True)
class LevelSettings:
    """The levels and the assignment that a model comes with, and how coverage is computed."""

    levels: tuple[int, ...]
    assignment: AssignmentConfig
    coverage: CoverageConfig

    def figures(self, boxes: InputBoxes) -> dict[str, float]:
        """Return the coverage metrics of the model's own levels and ranges, such as coverage/bpr."""
        counts, _ = count(boxes, tuple(2**level for level in self.levels), self.assignment)
        return measures(counts, self.levels, self.coverage)


def levels_and_ranges(train: Annotations, sides: tuple[int, int] | None, own: LevelSettings) -> Choice:
    """Choose model.levels and model.assignment.ranges: the model's own, or searched ones where these lose boxes.

    Ranges that are searched for the highest objective spread objects of one class over levels, so that they are taken
    only where they find more boxes. `sides` are the short and the long side of the input, None leaves images at their
    size.
    """
    short_side, long_side = sides or (None, None)
    boxes = input_boxes(_spread(train, SEARCH_IMAGES), short_side, long_side, own.coverage.rounding)
    figures = own.figures(boxes)
    levels, ranges, why = own.levels, own.assignment.ranges, "the model's own fit the boxes"
    if figures["coverage/bpr"] < FOUND_BOXES:
        why = "none that were tried find more boxes than the model's own"
        tried = {levels: _searched(boxes, levels, own.assignment, own.coverage) for levels in LEVELS}
        best = max(LEVELS, key=lambda levels: tried[levels][1]["coverage/bpr"])
        found, searched = tried[best]
        if searched["coverage/bpr"] > figures["coverage/bpr"]:
            lost = f"the model's own lose {1 - figures['coverage/bpr']:.1%} of the boxes"
            levels, ranges, figures, why = best, found.ranges, searched, f"{lost}, searched ranges fewer"
    reason = (
        f"{why}: {figures['coverage/bpr']:.1%} of them can be found, {figures['coverage/ambiguous']:.1%} of the "
        "positive locations lie in several boxes (+experiment=advise_levels compares more)"
    )
    values = {"model.levels": list(levels), "model.assignment.ranges": [list(pair) for pair in ranges]}
    return Choice("levels", values, reason)


def batch_size(images: int, usual: int) -> Choice:
    """Choose schedule.batch_size: the schedule's own, or fewer where there are not as many images."""
    batch = min(usual, images)
    reason = f"{images} training images" if batch < usual else "the schedule's own"
    return Choice("batch", {"schedule.batch_size": batch}, reason)


def steps(images: int, batch: int, input_pixels: float, start: Start, minutes: float | None) -> Choice:
    """Choose schedule.steps: so many epochs of the start, within bounds and within the minutes that a processor has.

    `input_pixels` are those of a mean image at the input; minutes=None sets no bound of time.
    """
    wanted = _wanted_steps(images, batch, start)
    total = _within_bounds(wanted, batch)
    reason = f"{start.epochs} passes over {images} images are {wanted} steps of {batch}"
    if total != wanted:
        reason += f"; no {'fewer' if total > wanted else 'more'} than {total}"
    if minutes is not None:
        affordable = _affordable_steps(batch, input_pixels, start, minutes)
        if affordable < total:
            total = max(affordable, math.ceil(LEAST_SEEN / batch))
            reason += f"; cut to what two CPU cores do in about {minutes:g} minutes (auto.minutes)"
            if total > affordable:
                reason += f", but no fewer than {total}"
    return Choice("steps", {"schedule.steps": _two_digits(total)}, reason)


def _wanted_steps(images: int, batch: int, start: Start) -> int:
    return math.ceil(start.epochs * images / batch)


def _within_bounds(wanted: int, batch: int) -> int:
    return min(max(wanted, math.ceil(FEWEST_SEEN / batch)), MOST_SEEN // batch)


def _affordable_steps(batch: int, input_pixels: float, start: Start, minutes: float) -> int:
    return int(minutes * 60 * start.megapixels_per_second * 1e6 / (input_pixels * batch))


def processors(usable: int) -> Choice:
    """Choose cluster.cpus_per_worker: a worker's processors of this machine, up to MOST_PROCESSORS."""
    chosen = min(usable, MOST_PROCESSORS)
    reason = f"a single training may use all of this machine, {usable} for each worker"
    more = f"; more than {MOST_PROCESSORS} gain little" if chosen < usable else ""
    return Choice("processors", {"cluster.cpus_per_worker": chosen}, reason + more)


def intervals(total: int, warmup_steps: int, given: Collection[str]) -> Choice | None:
    """Choose warm-up, evaluations and checkpoints to go with the number of steps; None where all of them are given."""
    values = {
        "schedule.warmup_steps": min(warmup_steps, total // 4),
        "schedule.eval_every": max(1, math.ceil(total / 2)),
        "schedule.checkpoint_every": max(1, math.ceil(total / 4)),
    }
    reasons = {
        "schedule.warmup_steps": f"warm-up at most {warmup_steps}",
        "schedule.eval_every": "2 evaluations",
        "schedule.checkpoint_every": "4 checkpoints",
    }
    left = {key: value for key, value in values.items() if key not in given}
    reason = f"of {total} steps: {', '.join(reasons[key] for key in left)}"
    return Choice("intervals", left, reason) if left else None


def input_pixels(train: Annotations, sides: tuple[int, int] | None) -> float:
    """Return the mean number of pixels of an image at the input."""
    height, width = train.sizes.T.astype(np.float64)
    if sides is None:
        return float((height * width).mean())
    scale = np.minimum(sides[0] / np.minimum(height, width), sides[1] / np.maximum(height, width))
    return float((height * width * scale**2).mean())


def _box_sides(train: Annotations) -> Float64[np.ndarray, "M 2"]:
    boxes = train.boxes[train.trainable].astype(np.float64)
    sides: Float64[np.ndarray, "M 2"] = boxes[:, 2:] - boxes[:, :2]
    return sides


def _searched(
    boxes: InputBoxes, levels: tuple[int, ...], assignment: AssignmentConfig, coverage: CoverageConfig
) -> tuple[AssignmentConfig, dict[str, float]]:
    """Return the assignment with searched ranges, starting from doubling ones, and its figures."""
    strides = tuple(2**level for level in levels)
    ends = [0.0, *(8.0 * stride for stride in strides[:-1])]
    first = [(low, high) for low, high in zip(ends, [*ends[1:], None], strict=True)]
    found = search_ranges(
        boxes, strides, assignment.model_copy(update={"ranges": tuple(first)}), coverage, lambda *_: None
    )
    counts, _ = count(boxes, strides, found)
    return found, measures(counts, levels, coverage)


def _spread(train: Annotations, most: int) -> Annotations:
    """Return at most so many images, spread evenly over the data set."""
    if len(train) <= most:
        return train
    return train.select(np.linspace(0, len(train) - 1, most).astype(np.int64))


def _rounded(side: float) -> int:
    return round(side / SIDE_STEP) * SIDE_STEP


def _rounded_up(side: float) -> int:
    return math.ceil(side / SIDE_STEP) * SIDE_STEP


def _two_digits(number: int) -> int:
    """Return a number of steps with two digits that matter, rounded down."""
    unit = int(10 ** max(0, len(str(number)) - 2))
    return number // unit * unit
