"""Keys that have no effect under the other settings; setting one is refused."""

from collections.abc import Iterator

from fcos.config.model import ModelConfig
from fcos.config.model_parts import AssignmentConfig, PostprocessConfig
from fcos.config.run import Config, ScheduleConfig

UNTRAINED = (
    *("model.backbone", "model.fpn", "model.head", "model.loss", "model.postprocess", "data.augmentation", "schedule"),
    "seeds",
)


def why_inactive(config: Config, key: str) -> str | None:
    """Return the setting, as key=value, under which a dotted key has no effect.

    Returns None for a key that has an effect.
    """
    for inactive, reason in _inactive_keys(config):
        if key == inactive or key.startswith(f"{inactive}."):
            return reason
    return None


def _inactive_keys(config: Config) -> Iterator[tuple[str, str]]:
    """Yield every key or section without an effect, and the reason."""
    if config.task == "coverage":
        yield from ((section, "task=coverage") for section in UNTRAINED)
    else:
        yield "coverage", "task=train"
    yield from _model_keys(config.model)
    yield from _schedule_keys(config.schedule)
    if not config.data.augmentation.drops_boxes:
        yield "data.augmentation.min_visible", "no augmentation that crops or covers boxes"
    if config.data.name == "synthetic":
        yield "data.group_by_aspect", "data=synthetic, whose images are all square"
        keys = ("crowds", "exif_orientation", "max_megapixels")
        yield from ((f"data.{key}", "data=synthetic, whose images are drawn") for key in keys)


def _model_keys(model: ModelConfig) -> Iterator[tuple[str, str]]:
    head = model.head
    yield from _assignment_keys(model.assignment)
    yield from _postprocess_keys(model.postprocess)
    if model.weights is not None:
        yield "model.backbone.weights", "model.weights, whose backbone is taken"
    if model.backbone.name != "small_resnet":
        yield "model.backbone.widths", f"model.backbone.name={model.backbone.name}"
    if model.fpn.kind != "bifpn":
        yield "model.fpn.cells", f"model.fpn.kind={model.fpn.kind}"
    if model.levels[-1] <= 5:
        yield "model.fpn.extra_levels_from", f"model.levels={list(model.levels)}"
    if head.num_convs == 0:
        keys = ("norm", "conv_bias", "towers", "quality_branch")
        yield from ((f"model.head.{key}", "model.head.num_convs=0") for key in keys)
    if head.norm != "gn" or head.num_convs == 0:
        reason = f"model.head.norm={head.norm}" if head.norm != "gn" else "model.head.num_convs=0"
        yield "model.head.gn_groups", reason
    if head.quality == "none":
        quality_keys = ("model.head.quality_branch", "model.loss.quality_weight", "model.loss.quality_loss")
        yield from ((key, "model.head.quality=none") for key in quality_keys)
    elif head.towers == "shared" and head.quality_branch != "own":
        yield "model.head.quality_branch", "model.head.towers=shared"
    if model.loss.normalizer == "local":
        yield "model.loss.normalizer_floor", "model.loss.normalizer=local"
    if head.regression == "deltas":
        yield "model.head.divide_by_stride", "model.head.regression=deltas"


def _assignment_keys(assignment: AssignmentConfig) -> Iterator[tuple[str, str]]:
    # The kinds that use a key.
    kinds_using = {
        "ranges": ("fcos", "center"),
        "ends": ("fcos", "center"),
        "level_rule": ("fcos",),
        "tie_break": ("fcos",),
        "positives": ("fcos",),
        "center_sampling_radius": ("fcos", "simota"),
        "candidates_per_level": ("atss",),
        "low_quality": ("retinanet",),
        "simota_rule": ("simota",),
    }
    for key, kinds in kinds_using.items():
        if assignment.kind not in kinds:
            yield f"model.assignment.{key}", f"model.assignment.kind={assignment.kind}"
    if assignment.level_rule == "fpn":
        yield from ((f"model.assignment.{key}", "model.assignment.level_rule=fpn") for key in ("ranges", "ends"))


def _postprocess_keys(config: PostprocessConfig) -> Iterator[tuple[str, str]]:
    if config.quality == "none":
        keys = ("score", "threshold_on", "topk_by")
        yield from ((f"model.postprocess.{key}", "model.postprocess.quality=none") for key in keys)
    if config.suppression == "peaks":
        # Several augmentations are merged by NMS, of boxes that are clipped.
        merges = len(config.tta_scales) > 1 or config.tta_flip
        unused = ("nms_corners", "clip") if merges else ("nms_corners", "clip", "nms_threshold", "nms_over")
        yield from ((f"model.postprocess.{key}", "model.postprocess.suppression=peaks") for key in unused)


def _schedule_keys(schedule: ScheduleConfig) -> Iterator[tuple[str, str]]:
    if schedule.optimizer != "sgd":
        yield "schedule.momentum", f"schedule.optimizer={schedule.optimizer}"
    if schedule.weight_decay == 0:
        yield "schedule.decay_one_axis", "schedule.weight_decay=0"
    if schedule.lr is not None:
        yield "schedule.lr_per_16_images", f"schedule.lr={schedule.lr:g}"
    if schedule.decay != "step":
        keys = ("decay_factor", "keep_first_milestone")
        yield from ((f"schedule.{key}", f"schedule.decay={schedule.decay}") for key in keys)
    if schedule.warmup_steps == 0:
        yield from ((f"schedule.{key}", "schedule.warmup_steps=0") for key in ("warmup", "warmup_factor"))
