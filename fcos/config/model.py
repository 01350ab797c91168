"""Schema of a detector: its parts, and which of their settings go together."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator

from fcos.config.backbone import BackboneConfig
from fcos.config.base import Section
from fcos.config.model_parts import (
    AssignmentConfig,
    FPNConfig,
    HeadConfig,
    LossConfig,
    PostprocessConfig,
)
from fcos.config.paths import AbsolutePath


class ModelConfig(Section):
    """A detector."""

    # Trained detector to begin from: a run's folder, a checkpoint, or a file of published weights. null begins from
    # backbone.weights.
    weights: AbsolutePath | None = None
    # SHA-256 of its content, filled in with the plan; a training begins from that content only.
    weights_sha256: str | None = None
    # Pyramid levels in use; level l has stride 2**l.
    levels: tuple[int, ...]
    # Batches are padded to multiples of this.
    size_divisor: int = Field(32, ge=1)
    # One square anchor of 8 strides, or RetinaNet's nine, each with predictions of its own.
    anchors_per_location: Literal[1, 9] = 1
    # How many boxes a location is assigned, each with predictions of its own (K of v2's section 4.4, MIP).
    targets_per_location: Literal[1, 2] = 1
    # Mean of red, green and blue in 0..1, which is subtracted: ImageNet's, as for torchvision's backbones.
    pixel_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    # Standard deviation of each color, by which the difference to the mean is divided.
    pixel_std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    backbone: BackboneConfig
    fpn: FPNConfig
    head: HeadConfig
    assignment: AssignmentConfig
    loss: LossConfig
    postprocess: PostprocessConfig

    @property
    def strides(self) -> tuple[int, ...]:
        return tuple(2**level for level in self.levels)

    @model_validator(mode="after")
    def _check(self) -> "ModelConfig":
        checks = (
            self._input_and_levels,
            self._network,
            self._several_anchors,
            self._several_targets,
            self._losses,
            self._ground_truth,
        )
        for check in checks:
            for message in check():
                raise ValueError(message)
        return self

    # Each of these yields a message for every combination that it refuses.

    def _input_and_levels(self) -> Iterator[str]:
        if min(self.pixel_std) <= 0:
            yield f"pixel_std={list(self.pixel_std)}: every deviation must be above 0"
        levels = list(self.levels)
        if not levels or levels != list(range(levels[0], levels[0] + len(levels))):
            yield f"levels={levels}: must be consecutive and not empty, such as [3, 4, 5, 6, 7]"
        if not 2 <= levels[0] <= 5 or levels[-1] > 8:
            yield f"levels={levels}: the first must lie in 2..5 and the last must be at most 8"
        if len(self.assignment.ranges) != len(levels):
            yield (
                f"assignment.ranges has {len(self.assignment.ranges)} ranges for {len(levels)} levels {levels}; "
                "give one [low, high] for each level"
            )

    def _network(self) -> Iterator[str]:
        fpn, head = self.fpn, self.head
        if fpn.kind == "bifpn" and len(self.levels) < 2:
            yield f"fpn.kind=bifpn: has nothing to fuse with levels={list(self.levels)}; it needs two or more"
        if head.quality == "none" and self.postprocess.quality == "branch":
            yield (
                "postprocess.quality=branch needs a branch, and head.quality=none builds none; "
                "set postprocess.quality to none or from_regression"
            )
        if head.norm == "bn_per_level" and head.across_levels == "separate":
            yield "head.norm=bn_per_level: where head.across_levels=separate every norm belongs to one level; give bn"
        if self.postprocess.nms_corners == "inclusive" and self.assignment.corners == "plain":
            yield (
                "postprocess.nms_corners=inclusive: adds the last pixel, which boxes of assignment.corners=plain have "
                "already; set both to inclusive, or nms_corners to plain"
            )
        if head.norm == "gn" and fpn.channels % head.gn_groups:
            yield f"head.gn_groups={head.gn_groups} does not divide fpn.channels={fpn.channels}"

    def _several_anchors(self) -> Iterator[str]:
        if self.anchors_per_location == 1:
            return
        given = f"anchors_per_location={self.anchors_per_location}"
        if self.assignment.kind != "retinanet":
            yield (
                f"{given} needs assignment.kind=retinanet, which assigns each anchor of a location by itself; "
                f"with assignment.kind={self.assignment.kind} all would have the same targets"
            )
        if self.head.regression != "deltas":
            yield f"{given} needs head.regression=deltas; with {self.head.regression} no box starts from its anchor"
        if self.postprocess.suppression == "peaks":
            yield f"{given}: postprocess.suppression=peaks looks for one peak at a location; set it to nms"

    def _several_targets(self) -> Iterator[str]:
        kind, postprocess = self.assignment.kind, self.postprocess
        if self.targets_per_location == 1:
            if postprocess.suppression == "set_nms":
                yield (
                    "postprocess.suppression=set_nms: keeps the other predictions of a location, and "
                    "targets_per_location=1 gives it only one; set it to nms"
                )
            return
        given = f"targets_per_location={self.targets_per_location}"
        if self.anchors_per_location > 1:
            yield f"{given}: anchors_per_location={self.anchors_per_location} has a prediction for each anchor already"
        if kind != "fcos":
            yield f"{given}: assignment.kind={kind} assigns one box to a location; set it to fcos"
        if self.head.regression == "deltas":
            yield (
                f"{given}: head.regression=deltas would start all predictions of a location from one anchor; "
                "set it to exp or relu"
            )
        if postprocess.suppression == "peaks":
            yield (f"{given}: postprocess.suppression=peaks looks for one peak at a location; set it to nms or set_nms")
        if postprocess.oracle != "none":
            yield (
                f"{given}: postprocess.oracle={postprocess.oracle} uses one box per location, and does not know which "
                "prediction it belongs to"
            )
        if "ambiguous" in postprocess.analyses:
            yield f"{given}: postprocess.analyses=[ambiguous] counts detections of locations with one target"

    def _losses(self) -> Iterator[str]:
        if self.loss.regression != "log_l1":
            return
        kind = self.assignment.kind
        if kind == "retinanet" or (kind == "simota" and self.assignment.simota_rule == "yolox"):
            setting = "kind=retinanet" if kind == "retinanet" else "simota_rule=yolox"
            yield (
                f"loss.regression=log_l1: takes the logarithm of distances, and assignment.{setting} also has "
                "locations outside of their boxes, where they are negative; give l1"
            )
        if self.head.regression == "deltas":
            yield (
                "loss.regression=log_l1: takes the logarithm of distances, which head.regression=deltas may predict "
                "below 0; give l1"
            )

    def _ground_truth(self) -> Iterator[str]:
        assignment, postprocess = self.assignment, self.postprocess
        if postprocess.oracle != "none" and assignment.tie_break == "random":
            yield (
                f"postprocess.oracle={postprocess.oracle}: the box of a location would be chosen at random at every "
                "evaluation; give another assignment.tie_break than random"
            )
        has_candidates = assignment.kind == "center" or (assignment.kind, assignment.level_rule) == (
            "fcos",
            "longest_offset",
        )
        if "ambiguous" in postprocess.analyses and not has_candidates:
            yield (
                "postprocess.analyses=[ambiguous]: counts the candidate boxes of assignment.kind=fcos with "
                "level_rule=longest_offset, and of kind=center; leave it out"
            )
