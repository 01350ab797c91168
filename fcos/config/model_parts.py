"""Schemas of a detector's parts: pyramid, head, assignment, losses, post-processing."""

import math
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from fcos.config.base import Section
from fcos.config.choices import (
    Analysis,
    BoxConvention,
    Clip,
    DropEmpty,
    Ends,
    ExtraLevelsFrom,
    HeadNorm,
    LevelRule,
    LowQuality,
    NmsOver,
    NormalizerFloor,
    NormalizerScope,
    Oracle,
    OracleBackground,
    Placement,
    PyramidNorm,
    Quality,
    QualityBranch,
    QualityLoss,
    RegressionLoss,
    SimotaRule,
    TieBreak,
    TopkBy,
    Towers,
)


class FPNConfig(Section):
    """The feature pyramid."""

    # bifpn: EfficientDet's cells with plain convolutions (v2: 6 cells of 160 channels).
    kind: Literal["fpn", "bifpn"] = "fpn"
    # bifpn only: number of cells, each one top-down and one bottom-up pass.
    cells: int = Field(6, ge=1)
    # After each convolution; the papers' FPN has none.
    norm: PyramidNorm = "none"
    # Channels of every level, and of the head.
    channels: int = Field(256, ge=8)
    # What P6 is computed from: P5 (FCOS) or C5 (RetinaNet).
    extra_levels_from: ExtraLevelsFrom = "p5"


class HeadConfig(Section):
    """The prediction head."""

    # Number of 3x3 convolutions in each tower, before the predicting one.
    num_convs: int = Field(4, ge=0)
    # Classification and regression have one tower each, or share one (v2's real-time models).
    towers: Towers = "separate"
    # One head for all levels (both papers), or one per level.
    across_levels: Literal["shared", "separate"] = "shared"
    # After each convolution of the towers; bn_per_level has statistics and weights for each level.
    norm: HeadNorm = "gn"
    # gn only: number of groups of channels; must divide fpn.channels.
    gn_groups: int = Field(32, ge=1)
    # Whether the convolutions of the towers have a bias, which a norm behind them makes all but superfluous.
    conv_bias: bool = True
    # A learned factor per level on the regression (v1: exp(s_i x), v2: relu(s_i x)).
    scale_per_level: bool = True
    # deltas: from an anchor, by its shift and log-scale (RetinaNet).
    regression: Literal["exp", "relu", "deltas"] = "exp"
    # The regression is in units of the level's stride instead of pixels (v2); deltas are in units of the anchor.
    divide_by_stride: bool = False
    # What is predicted beside class and box: nothing, the center-ness of a location, or the IoU of its box.
    quality: Quality = "centerness"
    # Tower that the quality is predicted from; own is a third tower.
    quality_branch: QualityBranch = "classification"
    # Probability of every class at the start of training, as in RetinaNet.
    prior: float = Field(0.01, gt=0, lt=1)


class AssignmentConfig(Section):
    """The target assignment."""

    # Positive locations of a box: those inside it on a level of fitting range (fcos), candidates whose anchors overlap
    # it more than most (atss), the one nearest to its center (center), anchors of an IoU of 0.5 (retinanet), those of
    # lowest loss (simota).
    kind: Literal["fcos", "atss", "center", "retinanet", "simota"] = "fcos"
    # atss: number of candidates per level, nearest to the box's center first (k).
    candidates_per_level: int = Field(9, ge=1)
    # retinanet: which anchors below an IoU of 0.5 are positive because they are the best of a box.
    low_quality: LowQuality = "all"
    # fcos, center: per level the range in pixels of the value that level_rule names; null is no upper end.
    ranges: tuple[tuple[float, float | None], ...]
    # Whether a value equal to an end of the range belongs to the level.
    ends: Ends = "closed"
    # fcos: value that decides the level (v2 Table 7): max(l, t, r, b) of a location, or of the whole box max(h, w) / 2,
    # sqrt(h w) / 2, or FPN's floor(5 + log2(sqrt(h w) / 224)).
    level_rule: LevelRule = "longest_offset"
    # fcos: which of several candidate boxes a location is assigned to; v2's section 3.5 takes the closest center for
    # crowds.
    tie_break: TieBreak = "smallest_area"
    # fcos, simota: radius in strides around the box center; null allows every location inside the box.
    center_sampling_radius: float | None = Field(1.5, gt=0)
    # simota: inside_box has candidates inside a box alone; yolox, the rule of YOLOX's code and of mmdetection, has all
    # locations in or near any box as candidates of every box (see fcos.assignment.simota).
    simota_rule: SimotaRule = "inside_box"
    # fcos: whether every location inside a box (and near its center) can be positive, or only those on the object's
    # mask, which the data must have.
    positives: Literal["box", "mask"] = "box"
    # Positions of locations: offset by half a stride (papers), or torchvision's grid from the corner.
    locations: Placement = "half_stride"
    # Box convention. plain: x2 = x + w. inclusive: x2 = x + w - 1, areas and clipping count pixels (v1's code).
    corners: BoxConvention = "plain"

    @property
    def by_outputs(self) -> bool:
        """Whether the assignment depends on the head outputs."""
        return self.kind == "simota"

    @property
    def by_masks(self) -> bool:
        """Whether the assignment uses the masks of the objects."""
        return self.kind == "fcos" and self.positives == "mask"

    @field_validator("ranges", mode="before")
    @classmethod
    def _infinity_to_none(cls, ranges: Any) -> Any:
        """Read [128, inf] as [128, null]."""
        if not isinstance(ranges, list):
            return ranges
        pairs = (tuple(pair) if isinstance(pair, list) else pair for pair in ranges)
        return tuple(
            (pair[0], None) if isinstance(pair, tuple) and len(pair) == 2 and pair[1] == math.inf else pair
            for pair in pairs
        )

    @model_validator(mode="after")
    def _check(self) -> "AssignmentConfig":
        bounds = [(low, math.inf if high is None else high) for low, high in self.ranges]
        for low, high in bounds:
            if low < 0:
                raise ValueError(f"ranges: [{low:g}, {high:g}] begins below 0; distances are not negative")
            if not low < high:
                raise ValueError(f"ranges: [{low:g}, {high:g}] is empty; the lower end must be below the upper end")
        for level, ((_, high), (low, _)) in enumerate(pairwise(bounds)):
            if high != low:
                kind = "leave a gap" if high < low else "overlap"
                raise ValueError(f"ranges {level} and {level + 1} {kind} between {high:g} and {low:g}; they must touch")
        return self


class LossConfig(Section):
    """The losses and their weights."""

    # Loss of a box: -ln(IoU) (iou), 1 - IoU (linear_iou), torchvision's giou, diou and ciou, or a mean over the four
    # sides in strides: of the difference (l1), its square (l2), or the difference of ln(1 + distance) (log_l1).
    regression: RegressionLoss = "iou"
    # Weight each location's regression loss by its center-ness target.
    weight_by_centerness: bool = True
    # Number of positives on this worker, its mean over the workers, or the moving average of that mean (0.9).
    normalizer: NormalizerScope = "global"
    # global, ema: the least number of positives to divide by: one in the whole step, or one for each worker (official
    # code, AdelaiDet, mmdetection).
    normalizer_floor: NormalizerFloor = "one_per_step"
    # Loss of the quality: binary cross-entropy, or L1 on the probability (v2 Table 4).
    quality_loss: QualityLoss = "bce"
    # Weight of positives in the focal loss; negatives have one minus it.
    focal_alpha: float = Field(0.25, ge=0, le=1)
    # Exponent of the focal loss; 0 is cross-entropy.
    focal_gamma: float = Field(2.0, ge=0)
    # Factor of the classification loss in the sum.
    classification_weight: float = Field(1.0, ge=0)
    # Factor of the regression loss in the sum.
    regression_weight: float = Field(1.0, ge=0)
    # Factor of the loss of the quality in the sum.
    quality_weight: float = Field(1.0, ge=0)


class PostprocessConfig(Section):
    """From head outputs to detections, and the analyses of them."""

    # Source of the localisation quality in the score: none, the branch, or the predicted ltrb (dagger).
    quality: Literal["none", "branch", "from_regression"] = "branch"
    # Score of a detection: class probability times quality, or the square root of that.
    score: Literal["product", "sqrt"] = "sqrt"
    # Candidates of a lower value are dropped; of what: threshold_on.
    score_threshold: float = Field(0.05, ge=0, lt=1)
    # Whether the threshold applies to the classification alone or to the whole score.
    threshold_on: Literal["classification", "score"] = "classification"
    # Maximum number of candidates that a level of an image hands to the suppression.
    topk_per_level: int = Field(1000, ge=1)
    # What the best of a level are chosen by: the whole score, or the classification alone (mmdetection).
    topk_by: TopkBy = "score"
    # How duplicates are removed: NMS; NMS in which predictions of one location do not suppress each other; or keeping
    # only scores that are the largest of their 3x3 neighbourhood, per level and class (CenterNet).
    suppression: Literal["nms", "set_nms", "peaks"] = "nms"
    # IoU above which NMS drops the box of lower score.
    nms_threshold: float = Field(0.6, gt=0, le=1)
    # Whether IoUs in NMS count the last pixel of a box (inclusive; maskrcnn-benchmark's NMS).
    nms_corners: BoxConvention = "plain"
    # Whether NMS compares boxes that are clipped to the image, or clips what it kept (AdelaiDet, detectron2).
    clip: Clip = "before_nms"
    # Whether boxes that have no area within the image are dropped: never; before NMS (mmdetection); or from what NMS
    # kept, so that fewer than max_detections may be left (AdelaiDet, detectron2).
    drop_empty: DropEmpty = "never"
    # Maximum number of detections of an image (COCO counts 100).
    max_detections: int = Field(100, ge=1)
    # Every class over the threshold is a candidate, or only the best class of a location.
    multi_label: bool = True
    # Test-time augmentation: scales relative to the size of an image in evaluation, with tta_flip each also mirrored.
    tta_scales: tuple[Annotated[float, Field(gt=0, le=4)], ...] = Field((1.0,), min_length=1)
    # Test-time augmentation: detect in the mirrored image too.
    tta_flip: bool = False
    # Whether NMS compares boxes of one class, or all boxes of an image (for class-agnostic proposals).
    nms_over: NmsOver = "class"
    # Which predictions of positive locations are replaced by ground truth: an upper bound of better training.
    oracle: Oracle = "none"
    # With an oracle, whether all other locations give their predictions or nothing.
    oracle_background: OracleBackground = "predicted"
    # Analyses in addition to the COCO metrics.
    analyses: tuple[Analysis, ...] = ()

    @property
    def needs_ground_truth(self) -> bool:
        """Whether detections depend on the boxes of the images."""
        return self.oracle != "none" or "ambiguous" in self.analyses

    @model_validator(mode="after")
    def _check(self) -> "PostprocessConfig":
        if len(set(self.tta_scales)) != len(self.tta_scales):
            raise ValueError(f"tta_scales={list(self.tta_scales)}: must be different")
        setting = f"oracle={self.oracle}" if self.oracle != "none" else "analyses=[ambiguous]"
        if self.needs_ground_truth and (self.tta_flip or self.tta_scales != (1.0,)):
            raise ValueError(
                f"{setting}: is about the locations of the image as it is; leave tta_scales and tta_flip out with it"
            )
        if self.oracle in ("centerness", "iou") and self.quality != "branch":
            raise ValueError(
                f"oracle={self.oracle}: stands in for the quality of the branch, which quality={self.quality} "
                "does not read; set quality=branch"
            )
        if self.oracle == "none" and self.oracle_background != "predicted":
            raise ValueError(f"oracle_background={self.oracle_background}: has no effect without an oracle")
        if self.suppression == "set_nms" and self.nms_over == "all" and self.multi_label:
            raise ValueError(
                "suppression=set_nms, nms_over=all: would keep every class of a prediction, as all come from one "
                "location; set multi_label=false"
            )
        if len(set(self.analyses)) < len(self.analyses):
            raise ValueError(f"analyses={list(self.analyses)}: each may be named once")
        return self
