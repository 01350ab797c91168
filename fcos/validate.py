"""Evaluation of a model on a data set by all workers together: detections, then COCO metrics."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from fcos.analyses.run import analyse
from fcos.choices import Precision
from fcos.data.annotations import Annotations
from fcos.distributed import broadcast_object
from fcos.engine import detect
from fcos.evaluation import evaluate, gather_detections
from fcos.oracle import TellTruth
from fcos.postprocess import Postprocess
from fcos.structures import Batch, Detections, Locations


@dataclass(frozen=True)
class Validation:
    """Metrics by arm, the same on every worker, and the detections behind them, on rank 0 only."""

    metrics: dict[str, dict[str, float]]
    detections: dict[str, dict[int, Detections]]


def validate(
    model: nn.Module,
    batches: Iterable[Batch],
    annotations: Annotations,
    postprocess: Mapping[str, Postprocess],
    *,
    locate: Callable[[Batch], Locations],
    device: torch.device,
    precision: Precision,
    rank: int,
    truth: TellTruth | None = None,
    progress: Callable[[int], None] | None = None,
) -> Validation:
    """Evaluate one set of weights under each post-processing; `batches` are this worker's share of the images."""
    found = detect(
        model, batches, postprocess, locate=locate, device=device, precision=precision, truth=truth, progress=progress
    )
    metrics: dict[str, dict[str, float]] = {}
    detections: dict[str, dict[int, Detections]] = {}
    for name, each in postprocess.items():
        together = gather_detections(found[name])
        if rank == 0:
            metrics[name] = evaluate(annotations, together) | analyse(annotations, together, each.rule.analyses)
            detections[name] = together
    return Validation(broadcast_object(metrics, device), detections)
