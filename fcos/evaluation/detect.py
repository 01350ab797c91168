"""Evaluation of a model on a data set by all workers together: detections, then COCO metrics."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from fcos.config.choices import Precision
from fcos.data.annotations import Annotations
from fcos.device import autocast, to_device
from fcos.distributed import broadcast_object
from fcos.evaluation.analyses import analyse
from fcos.evaluation.coco import evaluate, gather_detections
from fcos.postprocess.decode import Postprocess
from fcos.postprocess.oracle import TellTruth, Truth, with_truth
from fcos.postprocess.tta import back_from, shown, together, views
from fcos.structures import Batch, Detections, HeadOutputs, Locations


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


@torch.no_grad()
def detect(
    model: nn.Module,
    batches: Iterable[Batch],
    postprocess: Mapping[str, Postprocess],
    *,
    locate: Callable[[Batch], Locations],
    device: torch.device,
    precision: Precision,
    truth: TellTruth | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, dict[int, Detections]]:
    """Detections of this worker's images under each post-processing, by image id, on the CPU.

    One forward pass of a view serves every post-processing; `progress` is told how many images are done. `truth` is
    asked only where a post-processing has an oracle or asks for ambiguous locations, which no other view has.
    """
    wanted = {name: views(each.rule.tta_scales, each.rule.tta_flip) for name, each in postprocess.items()}
    was_training = model.training
    model.eval()
    found: dict[str, dict[int, Detections]] = {name: {} for name in postprocess}
    done = 0
    for host_batch in batches:
        batch = to_device(host_batch, device)
        parts: dict[str, list[list[Detections]]] = {name: [] for name in postprocess}
        for view in dict.fromkeys(view for own in wanted.values() for view in own):
            seen = shown(batch, view)
            with autocast(device, precision):
                outputs = model(seen.pixels, seen.sizes)
            of_view = {name: each for name, each in postprocess.items() if view in wanted[name]}
            places = locate(seen)
            asks = any(each.rule.needs_truth for each in of_view.values())
            known = truth(seen, places, outputs) if truth is not None and asks else None
            for name, each in of_view.items():
                detections = _detect(each, outputs, places, seen, known)
                parts[name].append(back_from(view, detections, seen.original_sizes))
        for name, each in postprocess.items():
            merged = together(parts[name], each.rule)
            on_host = (to_device(item, torch.device("cpu")) for item in merged)
            found[name].update(zip(batch.image_ids, on_host, strict=True))
        done += len(batch.image_ids)
        if progress is not None:
            progress(done)
    model.train(was_training)
    return found


def _detect(
    postprocess: Postprocess, outputs: HeadOutputs, places: Locations, batch: Batch, known: Truth | None
) -> list[Detections]:
    rule = postprocess.rule
    if not rule.needs_truth:
        return postprocess(outputs, places, batch.sizes, batch.original_sizes)
    assert known is not None, "an oracle needs the truth"
    told = with_truth(outputs, known.assignment, rule.oracle, rule.oracle_background)
    detections = postprocess(told, places, batch.sizes, batch.original_sizes)
    if known.ambiguity is None:
        return detections
    return [
        item if item.locations is None else replace(item, ambiguity=row[item.locations])
        for item, row in zip(detections, known.ambiguity, strict=True)
    ]
