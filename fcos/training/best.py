"""The best checkpoint of a training by schedule.best_metric; its record lies beside the checkpoints."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from fcos.metrics import better_end
from fcos.storage.checkpoint_folder import folder_of
from fcos.storage.files import write_atomically
from fcos.storage.run_folder import CHECKPOINTS, BestEvaluation

BEST = "best.json"


def improved(
    metric: str | None, step: int, metrics: Mapping[str, Mapping[str, float]], best: BestEvaluation | None
) -> BestEvaluation | None:
    """Return an evaluation whose first arm is better than the best so far, else None.

    Better is the metric's own better end, the lower one of errors. A metric without ground truth in the data has no
    value; a value that is not finite is never the best.
    """
    value = None if metric is None else next(iter(metrics.values())).get(metric)
    if metric is None or value is None or not math.isfinite(value):
        return None
    sign = -1 if better_end(metric) == "min" else 1
    if best is not None and sign * value <= sign * best.value:
        return None
    checkpoint = str(folder_of(Path(CHECKPOINTS), step))
    return BestEvaluation(metric=metric, step=step, value=value, checkpoint=checkpoint)


def write_best(folder: Path, best: BestEvaluation) -> None:
    """Write the record into the folder of checkpoints."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / BEST, json.dumps({"metric": best.metric, "step": best.step, "value": best.value}))


def read_best(folder: Path, metric: str | None, until: int) -> BestEvaluation | None:
    """Return the best evaluation in a metric up to a step; None without a record or without its checkpoint."""
    try:
        values = json.loads((folder / BEST).read_text())
        checkpoint = str(folder_of(Path(CHECKPOINTS), values["step"]))
        best = BestEvaluation(**values, checkpoint=checkpoint)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return best if best.metric == metric and best.step <= until and folder_of(folder, best.step).is_dir() else None
