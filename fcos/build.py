"""Settings to objects: the only place where a part of the detector or its training is made from a config."""

from collections.abc import Iterable, Sequence
from functools import partial

import torch
from torch import Tensor

from fcos.assignment.anchors import anchor_sizes
from fcos.assignment.build import build_assign, build_locate, candidate_pairs
from fcos.assignment.masks import pairs_on_mask
from fcos.config.model import ModelConfig
from fcos.config.model_parts import PostprocessConfig
from fcos.config.run import Config
from fcos.errors import ConfigError
from fcos.losses.criterion import FCOSLoss
from fcos.model.backbone import build_backbone
from fcos.model.bifpn import BiFPN
from fcos.model.detector import FCOS
from fcos.model.fpn import build_fpn
from fcos.model.head import Head, SeparateHeads
from fcos.postprocess.oracle import TellTruth, Truth, ambiguity_of
from fcos.runtime import Runtime
from fcos.structures import Batch, HeadOutputs, Locations, Targets
from fcos.training.optim import lr_factor, make_optimizer, make_scheduler, moving_average
from fcos.training.step import Learner


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
        deformable_stages=config.backbone.deformable_stages,
    )
    make_pyramid = build_fpn if config.fpn.kind == "fpn" else partial(BiFPN, cells=config.fpn.cells)
    fpn = make_pyramid(
        backbone.channels,
        config.fpn.channels,
        extra_levels=config.levels[-1] - last_backbone_level,
        extra_levels_from=config.fpn.extra_levels_from,
        norm=config.fpn.norm,
    )
    if config.head.across_levels == "shared":
        head: Head | SeparateHeads = _build_head(config, num_classes, config.strides)
    else:
        head = SeparateHeads([_build_head(config, num_classes, (stride,)) for stride in config.strides])
    return FCOS(
        backbone,
        fpn,
        head,
        levels=config.levels,
        channels_last=channels_last,
        pixel_mean=config.pixel_mean,
        pixel_std=config.pixel_std,
    )


def _build_head(config: ModelConfig, num_classes: int, strides: Sequence[int]) -> Head:
    return Head(
        config.fpn.channels,
        num_classes,
        strides=strides,
        num_convs=config.head.num_convs,
        towers=config.head.towers,
        norm=config.head.norm,
        gn_groups=config.head.gn_groups,
        scale_per_level=config.head.scale_per_level,
        regression=anchor_sizes(config.anchors_per_location)
        if config.head.regression == "deltas"
        else config.head.regression,
        divide_by_stride=config.head.divide_by_stride,
        quality=config.head.quality,
        quality_branch=config.head.quality_branch,
        prior=config.head.prior,
        targets_per_location=config.targets_per_location,
    )


def build_truth(config: ModelConfig, rules: Iterable[PostprocessConfig]) -> TellTruth:
    """What the boxes of a batch say of its locations; ambiguity only where one of the rules asks for it."""
    assigned = build_assign(config)
    counts_claims = any("ambiguous" in rule.analyses for rule in rules)

    def truth(batch: Batch, places: Locations, outputs: HeadOutputs) -> Truth:
        targets, ambiguity = batch.targets, None
        if counts_claims:
            rows = [
                ambiguity_of(*_claims(config, targets, row, places), targets.labels[row][valid], len(places.xy))
                for row, valid in enumerate(targets.valid)
            ]
            ambiguity = torch.stack(rows)
        return Truth(assigned(targets, places, outputs), ambiguity)

    return truth


def _claims(config: ModelConfig, targets: Targets, row: int, places: Locations) -> tuple[Tensor, Tensor]:
    """Every pair (box, location) of one image that its assignment chooses from."""
    rule, valid = config.assignment, targets.valid[row]
    boxes = targets.boxes[row][valid]
    box, place = candidate_pairs(rule, boxes, places)
    if targets.masks is None:
        return box, place
    keep = pairs_on_mask(targets.masks[row][valid], boxes, places.xy, box, place)
    return box[keep], place[keep]


def build_loss(config: ModelConfig, *, compiled: bool = False, device: torch.device | None = None) -> FCOSLoss:
    """The configured terms, weights and normaliser; what that remembers lies on the device."""
    return FCOSLoss(
        regression=config.loss.regression,
        weight_by_centerness=config.loss.weight_by_centerness,
        quality=config.head.quality,
        normalizer_scope=config.loss.normalizer,
        history=torch.zeros(3, device=device) if config.loss.normalizer == "ema" else None,
        focal_alpha=config.loss.focal_alpha,
        focal_gamma=config.loss.focal_gamma,
        classification_weight=config.loss.classification_weight,
        regression_weight=config.loss.regression_weight,
        quality_weight=config.loss.quality_weight,
        quality_loss=config.loss.quality_loss,
        compiled=compiled,
    )


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
        assigns_by_outputs=config.model.assignment.by_outputs,
        loss=build_loss(config.model, compiled=schedule.compile, device=runtime.device),
        optimizer=optimizer,
        scheduler=make_scheduler(optimizer, factor),
        average=average,
        precision=schedule.precision,
        scaler=torch.amp.GradScaler(runtime.device.type, enabled=schedule.precision == "fp16"),
        clip_norm=schedule.clip_norm,
    )
