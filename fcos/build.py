"""Settings to objects: the only place where a part of the detector or its training is made from a config."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from fcos.assign import assign, claims
from fcos.config import Config, ConfigError, ModelConfig, PostprocessConfig
from fcos.engine import Learner
from fcos.geometry import locations
from fcos.losses import FCOSLoss
from fcos.model.backbone import build_backbone
from fcos.model.detector import FCOS
from fcos.model.fpn import build_fpn
from fcos.model.head import Head
from fcos.optim import lr_factor, make_optimizer, make_scheduler, moving_average
from fcos.oracle import Truth, ambiguity_of
from fcos.postprocess import Postprocess
from fcos.runtime import Runtime
from fcos.structures import Assignment, Batch, Locations, Targets


def build_detector(config: ModelConfig, num_classes: int, *, channels_last: bool) -> FCOS:
    """A detector, its weights drawn from torch's global generator except where pretrained ones are named.

    Raises ConfigError for pretrained weights that cannot be had, and for synchronised norms on CPU workers.
    """
    last_backbone_level = min(config.levels[-1], 5)
    backbone = build_backbone(
        config.backbone.name,
        norm=config.backbone.norm,
        weights=config.backbone.weights,
        frozen_stages=config.backbone.frozen_stages,
        widths=config.backbone.widths,
        stride_in_1x1=config.backbone.stride_in_1x1,
        first_level=config.levels[0],
        last_level=last_backbone_level,
    )
    fpn = build_fpn(
        backbone.channels,
        config.fpn.channels,
        extra_levels=config.levels[-1] - last_backbone_level,
        extra_levels_from=config.fpn.extra_levels_from,
    )
    head = Head(
        config.fpn.channels,
        num_classes,
        strides=config.strides,
        num_convs=config.head.num_convs,
        norm=config.head.norm,
        gn_groups=config.head.gn_groups,
        scale_per_level=config.head.scale_per_level,
        regression=config.head.regression,
        divide_by_stride=config.head.divide_by_stride,
        quality=config.head.quality,
        quality_branch=config.head.quality_branch,
        prior=config.head.prior,
    )
    return FCOS(
        backbone,
        fpn,
        head,
        levels=config.levels,
        channels_last=channels_last,
        pixel_mean=config.pixel_mean,
        pixel_std=config.pixel_std,
    )


def build_locate(config: ModelConfig) -> Callable[[Batch], Locations]:
    """Where the locations of a batch lie; its pyramid has ceil(side / stride) rows and columns on each level."""

    def locate(batch: Batch) -> Locations:
        height, width = batch.pixels.shape[-2:]
        shapes = tuple((-(-height // stride), -(-width // stride)) for stride in config.strides)
        return locations(shapes, config.strides, (height, width), config.assignment.locations, batch.pixels.device)

    return locate


def build_assign(config: ModelConfig, *, compiled: bool = False) -> Callable[[Targets, Locations], Assignment]:
    """The configured assignment of locations to boxes."""
    return partial(
        assign,
        ranges=config.assignment.ranges,
        ends=config.assignment.ends,
        center_sampling_radius=config.assignment.center_sampling_radius,
        corners=config.assignment.corners,
        compiled=compiled,
    )


def build_truth(config: ModelConfig, rules: Iterable[PostprocessConfig]) -> Callable[[Batch, Locations], Truth]:
    """What the boxes of a batch say of its locations; ambiguity only where one of the rules asks for it."""
    assigned = build_assign(config)
    counts_claims = any("ambiguous" in rule.analyses for rule in rules)

    def truth(batch: Batch, places: Locations) -> Truth:
        targets, ambiguity = batch.targets, None
        if counts_claims:
            rows = [
                ambiguity_of(*_claims(config, boxes[valid], places), labels[valid], len(places.xy))
                for boxes, labels, valid in zip(targets.boxes, targets.labels, targets.valid, strict=True)
            ]
            ambiguity = torch.stack(rows)
        return Truth(assigned(targets, places), ambiguity)

    return truth


def _claims(config: ModelConfig, boxes: Tensor, places: Locations) -> tuple[Tensor, Tensor]:
    rule = config.assignment
    return claims(boxes, places, rule.ranges, rule.ends, rule.center_sampling_radius)


def build_loss(config: ModelConfig, *, compiled: bool = False) -> FCOSLoss:
    """The configured terms, weights and normaliser."""
    return FCOSLoss(
        regression=config.loss.regression,
        weight_by_centerness=config.loss.weight_by_centerness,
        quality=config.head.quality,
        normalizer_scope=config.loss.normalizer,
        focal_alpha=config.loss.focal_alpha,
        focal_gamma=config.loss.focal_gamma,
        classification_weight=config.loss.classification_weight,
        regression_weight=config.loss.regression_weight,
        quality_weight=config.loss.quality_weight,
        compiled=compiled,
    )


def build_postprocess(config: PostprocessConfig, corners: Literal["plain", "inclusive"]) -> Postprocess:
    """The configured way from head outputs to detections; corners are those of the assignment."""
    return Postprocess(**config.model_dump(), corners=corners)


def build_learner(config: Config, detector: FCOS, runtime: Runtime) -> Learner:
    """The detector on this worker's device with all that trains it.

    Raises ConfigError where the batch does not divide over workers and micro-batches.
    """
    schedule = config.schedule
    share = runtime.world_size * schedule.accumulate
    if schedule.batch_size % share:
        raise ConfigError(
            f"schedule.batch_size={schedule.batch_size}: does not divide over {runtime.world_size} workers with "
            f"schedule.accumulate={schedule.accumulate}; it must be a multiple of {share}"
        )
    detector.to(runtime.device)
    average = None if schedule.ema is None else moving_average(detector, schedule.ema)
    optimizer = make_optimizer(
        detector,
        kind=schedule.optimizer,
        lr=schedule.resolved_lr,
        momentum=schedule.momentum,
        weight_decay=schedule.weight_decay,
        decay_one_axis=schedule.decay_one_axis,
        fused=runtime.device.type in ("cpu", "cuda"),
    )
    factor = lr_factor(
        steps=schedule.steps,
        warmup=schedule.warmup,
        warmup_steps=schedule.warmup_steps,
        warmup_factor=schedule.warmup_factor,
        decay=schedule.decay,
        milestones=schedule.milestones,
        decay_factor=schedule.decay_factor,
    )
    model = runtime.wrap(detector)
    return Learner(
        detector=detector,
        model=model,
        # Evaluation, whose batches have many shapes, keeps the plain one.
        forward=torch.compile(model, dynamic=False) if schedule.compile else model,
        locate=build_locate(config.model),
        assign=build_assign(config.model, compiled=schedule.compile),
        loss=build_loss(config.model, compiled=schedule.compile),
        optimizer=optimizer,
        scheduler=make_scheduler(optimizer, factor),
        average=average,
        precision=schedule.precision,
        clip_norm=schedule.clip_norm,
    )
