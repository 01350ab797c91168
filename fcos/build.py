"""Build the detector and its training from a configuration; no other module reads a config for this."""

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor

from fcos.assignment.anchors import anchor_sizes
from fcos.assignment.build import Assign, build_assign, build_locate, candidate_pairs
from fcos.assignment.masks import pairs_on_mask
from fcos.config.model import ModelConfig
from fcos.config.model_parts import AssignmentConfig, PostprocessConfig
from fcos.config.run import Config, ScheduleConfig
from fcos.errors import ConfigError
from fcos.losses.criterion import FCOSLoss
from fcos.model.backbone import build_backbone
from fcos.model.bifpn import BiFPN
from fcos.model.detector import FCOS
from fcos.model.fpn import build_fpn
from fcos.model.head import Head, SeparateHeads
from fcos.postprocess.oracle import BuildOracleTargets, OracleTargets, location_ambiguity
from fcos.runtime import Runtime
from fcos.structures import Batch, HeadOutputs, Locations, Targets
from fcos.training.lr_factor import lr_factor
from fcos.training.optim import make_lr_scheduler, make_optimizer, moving_average
from fcos.training.step import TrainState


def build_detector(config: ModelConfig, num_classes: int, *, channels_last: bool) -> FCOS:
    """Build a detector with weights from torch's global generator, or with the pretrained ones that are configured.

    Raises ConfigError for pretrained weights that are not available, and for synchronised norms on CPU workers.
    """
    last_backbone_level = min(config.levels[-1], 5)
    # With a whole detector's weights those of the backbone alone would be loaded for nothing.
    parts = config.backbone if config.weights is None else config.backbone.model_copy(update={"weights": None})
    backbone = build_backbone(parts, first_level=config.levels[0], last_level=last_backbone_level)
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
        config.head,
        strides=strides,
        anchors=anchor_sizes(config.anchors_per_location) if config.head.regression == "deltas" else (),
        targets_per_location=config.targets_per_location,
    )


def build_oracle_targets(config: ModelConfig, settings: Iterable[PostprocessConfig]) -> BuildOracleTargets:
    """Return the function that computes a batch's oracle targets.

    They include the ambiguity where one of the settings needs it.
    """
    assign = build_assign(config)
    needs_ambiguity = any("ambiguous" in setting.analyses for setting in settings)

    def oracle_targets(batch: Batch, locations: Locations, outputs: HeadOutputs) -> OracleTargets:
        targets = batch.targets
        ambiguity = _ambiguity(config.assignment, targets, locations) if needs_ambiguity else None
        return OracleTargets(assign(targets, locations, outputs), ambiguity)

    return oracle_targets


def _ambiguity(config: AssignmentConfig, targets: Targets, locations: Locations) -> Tensor:
    """Return how ambiguous each location of each image is, B x P."""
    rows = []
    for row, valid in enumerate(targets.valid):
        boxes = targets.boxes[row][valid]
        box, location = candidate_pairs(config, boxes, locations)
        if targets.masks is not None:
            keep = pairs_on_mask(targets.masks[row][valid], boxes, locations.xy, box, location)
            box, location = box[keep], location[keep]
        rows.append(location_ambiguity(box, location, targets.labels[row][valid], len(locations.xy)))
    return torch.stack(rows)


def build_loss(config: ModelConfig, *, compiled: bool = False, device: torch.device | None = None) -> FCOSLoss:
    """Build the criterion; the history of its normaliser lies on the device."""
    return FCOSLoss(
        regression=config.loss.regression,
        weight_by_centerness=config.loss.weight_by_centerness,
        quality=config.head.quality,
        normalizer_scope=config.loss.normalizer,
        normalizer_floor=config.loss.normalizer_floor,
        history=torch.zeros(3, device=device) if config.loss.normalizer == "ema" else None,
        focal_alpha=config.loss.focal_alpha,
        focal_gamma=config.loss.focal_gamma,
        classification_weight=config.loss.classification_weight,
        regression_weight=config.loss.regression_weight,
        quality_weight=config.loss.quality_weight,
        quality_loss=config.loss.quality_loss,
        compiled=compiled,
    )


def build_train_state(
    config: Config,
    detector: FCOS,
    runtime: Runtime,
    averages: Collection[float] | None = None,
    assign: Assign | None = None,
) -> TrainState:
    """Put the detector on this worker's device and build all that trains it.

    `averages` are the decays of the moving averages that are evaluated; without them the configuration's own is built.
    `assign` takes the place of the configured assignment, and gets no head outputs.
    Raises ConfigError where the batch does not divide over workers and micro-batches.
    """
    schedule = config.schedule
    _check_batch_divides(schedule, runtime.world_size)
    detector.to(runtime.device)
    if averages is None:
        averages = () if schedule.ema is None else (schedule.ema,)
    optimizer = make_optimizer(detector, schedule, fused=runtime.device.type in ("cpu", "cuda"))
    model = runtime.wrap(detector)
    return TrainState(
        detector=detector,
        model=model,
        # Only training is compiled: batches of evaluation have many shapes.
        forward=torch.compile(model, dynamic=False) if schedule.compile else model,
        locate=build_locate(config.model),
        assign=build_assign(config.model, compiled=schedule.compile) if assign is None else assign,
        assigns_by_outputs=assign is None and config.model.assignment.by_outputs,
        loss=build_loss(config.model, compiled=schedule.compile, device=runtime.device),
        optimizer=optimizer,
        scheduler=make_lr_scheduler(optimizer, _build_lr_factor(schedule)),
        averages={decay: moving_average(detector, decay) for decay in averages},
        precision=schedule.precision,
        scaler=torch.amp.GradScaler(runtime.device.type, enabled=schedule.precision == "fp16"),
        clip_norm=schedule.clip_norm,
    )


def _check_batch_divides(schedule: ScheduleConfig, workers: int) -> None:
    divisor = workers * schedule.accumulate
    if schedule.batch_size % divisor:
        raise ConfigError(
            f"schedule.batch_size={schedule.batch_size}: does not divide over {workers} workers with "
            f"schedule.accumulate={schedule.accumulate}; it must be a multiple of {divisor}"
        )


def _build_lr_factor(schedule: ScheduleConfig) -> Callable[[int], float]:
    return lr_factor(
        steps=schedule.steps,
        warmup=schedule.warmup,
        warmup_steps=schedule.warmup_steps,
        warmup_factor=schedule.warmup_factor,
        decay=schedule.decay,
        milestones=schedule.milestones,
        decay_factor=schedule.decay_factor,
    )
