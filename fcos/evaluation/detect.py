"""Evaluation of a model on a data set by all workers: detections, then COCO metrics and analyses."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from fcos.annotations.annotations import Annotations
from fcos.config.choices import Precision
from fcos.device import autocast, to_device
from fcos.distributed import broadcast_object
from fcos.evaluation.analyses import analyse
from fcos.evaluation.coco import coco_metrics, gather_detections
from fcos.evaluation.cost import CostLog
from fcos.postprocess.decode import Postprocess
from fcos.postprocess.oracle import BuildOracleTargets, OracleTargets, apply_oracle
from fcos.postprocess.tta import augment, augmentations, merge, undo
from fcos.structures import Batch, Detections, HeadOutputs, Locations


@dataclass(frozen=True)
class Validation:
    """Metrics by arm, the same on every worker, and the detections behind them, on rank 0 only."""

    metrics: dict[str, dict[str, float]]
    detections: dict[str, dict[int, Detections]]


@dataclass(frozen=True)
class Inference:
    """How a detector's outputs become detections: post-processing by arm, locations, device and precision.

    `oracle_targets` is called only where a post-processing has an oracle or analyses ambiguous locations, which
    excludes test-time augmentation.
    """

    postprocess: Mapping[str, Postprocess]
    locate: Callable[[Batch], Locations]
    device: torch.device
    precision: Precision
    oracle_targets: BuildOracleTargets | None = None


def validate(
    model: nn.Module,
    batches: Iterable[Batch],
    annotations: Annotations,
    inference: Inference,
    *,
    rank: int,
    progress: Callable[[int], None] | None = None,
) -> Validation:
    """Evaluate one set of weights under each post-processing; `batches` are this worker's share of the images."""
    log = CostLog()
    local = detect(model, batches, inference, progress=progress, log=log)
    metrics: dict[str, dict[str, float]] = {}
    detections: dict[str, dict[int, Detections]] = {}
    for name, post_processing in inference.postprocess.items():
        gathered = gather_detections(local[name])
        if rank == 0:
            metrics[name] = coco_metrics(annotations, gathered) | analyse(
                annotations, gathered, post_processing.config.analyses
            )
            metrics[name] |= log.metrics(name, model, inference.device)
            detections[name] = gathered
    return Validation(broadcast_object(metrics, inference.device), detections)


def detect(
    model: nn.Module,
    batches: Iterable[Batch],
    inference: Inference,
    *,
    progress: Callable[[int], None] | None = None,
    log: CostLog | None = None,
) -> dict[str, dict[int, Detections]]:
    """Return the detections of this worker's images under each post-processing, by image id, on the CPU.

    `progress` is called with the number of images done. A post-processing with the analysis `cost` is carried out by
    itself, and its times are added to `log`.
    """
    was_training = model.training
    model.eval()
    detections: dict[str, dict[int, Detections]] = {name: {} for name in inference.postprocess}
    done = 0
    groups = _split_by_cost(inference)
    for batch in batches:
        for group in groups:
            start = time.perf_counter()
            for name, batch_detections in detect_batch(model, batch, group).items():
                detections[name].update(zip(batch.image_ids, batch_detections, strict=True))
            if log is not None and _is_timed(group):
                log.add(next(iter(group.postprocess)), batch, time.perf_counter() - start)
        done += len(batch.image_ids)
        if progress is not None:
            progress(done)
    model.train(was_training)
    return detections


def _split_by_cost(inference: Inference) -> list[Inference]:
    """Return each post-processing that is timed by itself, and all others together."""
    alone = [{name: item} for name, item in inference.postprocess.items() if "cost" in item.config.analyses]
    others = {name: item for name, item in inference.postprocess.items() if "cost" not in item.config.analyses}
    return [replace(inference, postprocess=group) for group in (*alone, others) if group]


def _is_timed(inference: Inference) -> bool:
    return any("cost" in item.config.analyses for item in inference.postprocess.values())


@torch.no_grad()
def detect_batch(model: nn.Module, batch: Batch, inference: Inference) -> dict[str, list[Detections]]:
    """Return the detections of each image of a batch under each post-processing, on the CPU.

    One forward pass per augmentation serves every post-processing. The model must be in evaluation mode.
    """
    requested = {name: augmentations(item.config) for name, item in inference.postprocess.items()}
    batch = to_device(batch, inference.device)
    parts: dict[str, list[list[Detections]]] = {name: [] for name in requested}
    for augmentation in dict.fromkeys(item for items in requested.values() for item in items):
        augmented = augment(batch, augmentation)
        with autocast(inference.device, inference.precision):
            outputs = model(augmented.pixels, augmented.sizes)
        active = {name: item for name, item in inference.postprocess.items() if augmentation in requested[name]}
        locations = inference.locate(augmented)
        needs_targets = any(item.config.needs_ground_truth for item in active.values())
        targets = None
        if inference.oracle_targets and needs_targets:
            targets = inference.oracle_targets(augmented, locations, outputs)
        for name, item in active.items():
            augmented_detections = _postprocess(item, outputs, locations, augmented, targets)
            parts[name].append(undo(augmentation, augmented_detections, augmented.original_sizes))
    cpu = torch.device("cpu")
    return {
        name: [to_device(image_detections, cpu) for image_detections in merge(parts[name], item.config)]
        for name, item in inference.postprocess.items()
    }


def _postprocess(
    postprocess: Postprocess, outputs: HeadOutputs, locations: Locations, batch: Batch, targets: OracleTargets | None
) -> list[Detections]:
    """Post-process one batch, with the configured oracle and the ambiguity of each detection's location."""
    config = postprocess.config
    if not config.needs_ground_truth:
        return postprocess(outputs, locations, batch.sizes, batch.original_sizes)
    assert targets is not None, "an oracle needs targets"
    outputs = apply_oracle(outputs, targets.assignment, config.oracle, config.oracle_background)
    detections = postprocess(outputs, locations, batch.sizes, batch.original_sizes)
    if targets.ambiguity is None:
        return detections
    return [
        item if item.locations is None else replace(item, ambiguity=ambiguity[item.locations])
        for item, ambiguity in zip(detections, targets.ambiguity, strict=True)
    ]
