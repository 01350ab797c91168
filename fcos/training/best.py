"""Which checkpoint of a run is its best, kept beside all of them."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from fcos.metrics import better_end
from fcos.training.checkpoint import folder_of

BEST = "best.json"


@dataclass(frozen=True)
class Best:
    """The evaluation that was best so far."""

    metric: str
    step: int
    value: float


def better(
    metric: str | None, step: int, metrics: Mapping[str, Mapping[str, float]], before: Best | None
) -> Best | None:
    """An evaluation whose first arm is better than the best before, else None.

    Better is the metric's own better end, the lower one of errors. A metric that a data set has no ground truth for
    has no value; what is not finite is never the best.
    """
    value = None if metric is None else next(iter(metrics.values())).get(metric)
    if metric is None or value is None or not math.isfinite(value):
        return None
    sign = -1 if better_end(metric) == "min" else 1
    if before is not None and sign * value <= sign * before.value:
        return None
    return Best(metric, step, value)


def write_best(folder: Path, best: Best) -> None:
    """Keep which is the best in the folder of checkpoints, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{BEST}.{os.getpid()}"
    draft.write_text(json.dumps(asdict(best)))
    draft.replace(folder / BEST)


def read_best(folder: Path, metric: str | None, until: int) -> Best | None:
    """The best evaluation in a metric up to a step; None where it is not known or its checkpoint is not there."""
    try:
        best = Best(**json.loads((folder / BEST).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return best if best.metric == metric and best.step <= until and folder_of(folder, best.step).is_dir() else None
