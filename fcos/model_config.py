"""Strict schema of a detector: its parts, what it learns from, and how detections come out of it."""

import math
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from fcos.section import Section

BackboneName = Literal[
    "small_resnet",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "mobilenet_v2",
    "mobilenet_v3_large",
]
BOTTLENECKS = ("resnet50", "resnet101", "resnext")
BackboneNorm = Literal["frozen_bn", "bn", "sync_bn"]
HeadNorm = Literal["gn", "bn", "bn_per_level", "sync_bn", "none"]
Quality = Literal["none", "centerness", "iou"]
RegressionLoss = Literal["iou", "linear_iou", "giou", "diou", "ciou", "l1", "log_l1", "l2"]
LevelRule = Literal["longest_offset", "longer_side", "sqrt_area", "fpn"]
TieBreak = Literal["smallest_area", "closest_center", "random"]
Positives = Literal["box", "mask"]
Normalizer = Literal["local", "global", "ema"]
Oracle = Literal["none", "centerness", "iou", "class", "class_iou", "box"]
Analysis = Literal["class_agnostic", "proposals", "score_iou", "ambiguous", "errors"]


class BackboneConfig(Section):
    name: BackboneName
    norm: BackboneNorm
    # Name of a torchvision weight set of this backbone, e.g. IMAGENET1K_V1; null starts from random weights.
    weights: str | None = None
    # How many stages, counted from the stem, receive no gradient (the papers freeze 2: stem and res2).
    frozen_stages: int = Field(0, ge=0, le=5)
    # How many stages, counted from the deepest, have deformable 3x3 convolutions (DCNv2; the papers': 3). ResNets only.
    deformable_stages: int = Field(0, ge=0, le=4)
    # small_resnet only: channels of the stem and of C2 to C5.
    widths: tuple[int, int, int, int, int] = (16, 32, 64, 96, 128)
    # ResNets of Caffe and of detectron2 take a block's stride in its first convolution, torchvision's in its second.
    stride_in_1x1: bool = False

    @model_validator(mode="after")
    def _check(self) -> "BackboneConfig":
        # torch 2.15 corrupts the heap in the backward of a narrow 1x1 stride-2 convolution in channels_last.
        if self.name == "small_resnet" and min(self.widths) < 16:
            raise ValueError(f"widths={list(self.widths)}: every width must be at least 16")
        if self.deformable_stages and self.name.startswith("mobilenet"):
            raise ValueError(
                f"deformable_stages={self.deformable_stages}: {self.name} has no 3x3 convolutions over all channels"
            )
        if self.stride_in_1x1 and not self.name.startswith(BOTTLENECKS):
            raise ValueError(f"stride_in_1x1=true: {self.name} has no blocks that begin with a 1x1 convolution")
        if self.name == "small_resnet" and self.weights is not None:
            raise ValueError(f"weights={self.weights}: small_resnet has no pretrained weights")
        return self


class FPNConfig(Section):
    # bifpn: EfficientDet's cells with plain convolutions (v2: 6 cells of 160 channels).
    kind: Literal["fpn", "bifpn"] = "fpn"
    # bifpn only: how often levels are fused downwards and upwards.
    cells: int = Field(6, ge=1)
    # After each convolution; the papers' FPN has none.
    norm: Literal["none", "bn", "sync_bn"] = "none"
    channels: int = Field(256, ge=8)
    # What P6 is computed from: P5 (FCOS) or C5 (RetinaNet).
    extra_levels_from: Literal["p5", "c5"] = "p5"


class HeadConfig(Section):
    num_convs: int = Field(4, ge=0)
    # Classification and regression have a tower each, or one together (v2's real-time models).
    towers: Literal["separate", "shared"] = "separate"
    # One head for all levels (both papers), or one for each.
    across_levels: Literal["shared", "separate"] = "shared"
    norm: HeadNorm = "gn"
    gn_groups: int = Field(32, ge=1)
    # A learned factor per level on the regression (v1: exp(s_i x), v2: relu(s_i x)).
    scale_per_level: bool = True
    # deltas: from an anchor, by its shift and log-scale (RetinaNet).
    regression: Literal["exp", "relu", "deltas"] = "exp"
    # The regression is in units of the level's stride instead of pixels (v2); deltas are in units of the anchor.
    divide_by_stride: bool = False
    quality: Quality = "centerness"
    # Whose tower the quality is predicted from; own is a third one.
    quality_branch: Literal["classification", "regression", "own"] = "classification"
    prior: float = Field(0.01, gt=0, lt=1)


class AssignmentConfig(Section):
    # Which locations answer for a box: those inside of it whose level fits (fcos), those whose anchors overlap it
    # more than most of its own candidates (atss), the one nearest to its center (center), anchors of an IoU of 0.5
    # (retinanet), those that predict it best (simota).
    kind: Literal["fcos", "atss", "center", "retinanet", "simota"] = "fcos"
    # atss: how many of a level's locations, nearest to the box's center first, are candidates (k).
    candidates_per_level: int = Field(9, ge=1)
    # retinanet: which anchors below an IoU of 0.5 answer, as a box's best ones.
    low_quality: Literal["none", "iou0_4", "all"] = "all"
    # fcos, center: per level the range in pixels of what level_rule looks at; null is no upper end.
    ranges: tuple[tuple[float, float | None], ...]
    # Whether what equals an end of the range belongs to the level.
    ends: Literal["closed", "open"] = "closed"
    # fcos: what decides the level (v2 Table 7): max(l, t, r, b) of a location, or of the whole box max(h, w) / 2,
    # sqrt(h w) / 2, or FPN's floor(5 + log2(sqrt(h w) / 224)).
    level_rule: LevelRule = "longest_offset"
    # fcos: which box a location takes that may answer for several; v2's section 3.5 takes the closest center for
    # crowds.
    tie_break: TieBreak = "smallest_area"
    # fcos, simota: in strides around the box center; null takes every location inside the box.
    center_sampling_radius: float | None = Field(1.5, gt=0)
    # fcos: a location inside of a box (and near its center) answers for it wherever it lies, or only on a pixel of the
    # object's own mask, which the data must have.
    positives: Positives = "box"
    # Where locations lie: half a stride in (papers), or torchvision's grid from the corner.
    locations: Literal["half_stride", "torchvision"] = "half_stride"
    # plain: x2 = x + w. inclusive: x2 = x + w - 1, areas and clipping count pixels (v1's code).
    corners: Literal["plain", "inclusive"] = "plain"

    @property
    def by_outputs(self) -> bool:
        """Whether it needs what the detector says of the images."""
        return self.kind == "simota"

    @property
    def by_masks(self) -> bool:
        """Whether it needs the masks of the objects."""
        return self.kind == "fcos" and self.positives == "mask"

    @field_validator("ranges", mode="before")
    @classmethod
    def _infinity_is_no_end(cls, ranges: Any) -> Any:
        """[128, inf] is what anyone would write for [128, null]."""
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
    regression: RegressionLoss = "iou"
    # Each location's regression loss is weighted by its center-ness target.
    weight_by_centerness: bool = True
    # Positives of this worker, mean over the workers, or the moving average of that over the steps (0.9).
    normalizer: Normalizer = "global"
    # How the quality is learned: binary cross-entropy, or L1 on the probability (v2 Table 4).
    quality_loss: Literal["bce", "l1"] = "bce"
    focal_alpha: float = Field(0.25, ge=0, le=1)
    focal_gamma: float = Field(2.0, ge=0)
    classification_weight: float = Field(1.0, ge=0)
    regression_weight: float = Field(1.0, ge=0)
    quality_weight: float = Field(1.0, ge=0)


class PostprocessConfig(Section):
    # Where the localisation quality in the score comes from: nowhere, the branch, or the predicted ltrb (dagger).
    quality: Literal["none", "branch", "from_regression"] = "branch"
    score: Literal["product", "sqrt"] = "sqrt"
    score_threshold: float = Field(0.05, ge=0, lt=1)
    # Whether the threshold is held against the classification alone or against the whole score.
    threshold_on: Literal["classification", "score"] = "classification"
    topk_per_level: int = Field(1000, ge=1)
    # What keeps one object from being found twice: NMS; NMS in which predictions of one location spare each other; or
    # only scores that are the largest of 3x3 neighbours on their level and in their class (CenterNet).
    suppression: Literal["nms", "set_nms", "peaks"] = "nms"
    nms_threshold: float = Field(0.6, gt=0, le=1)
    max_detections: int = Field(100, ge=1)
    # Every class over the threshold is a candidate, or only the best class of a location.
    multi_label: bool = True
    # Test-time augmentation: sizes of an image relative to its own in evaluation, each also mirrored if so told.
    tta_scales: tuple[Annotated[float, Field(gt=0, le=4)], ...] = Field((1.0,), min_length=1)
    tta_flip: bool = False
    # Whether NMS compares boxes of one class, or all boxes of an image (proposals, whose class is no matter).
    nms_over: Literal["class", "all"] = "class"
    # What the truth replaces at locations that answer for a box: an upper bound of what better learning could give.
    oracle: Oracle = "none"
    # With an oracle, what comes from all other locations: what was predicted there, or nothing.
    oracle_background: Literal["predicted", "nothing"] = "predicted"
    # What evaluation measures beside COCO's numbers.
    analyses: tuple[Analysis, ...] = ()

    @property
    def needs_truth(self) -> bool:
        """Whether detections depend on the boxes of the images."""
        return self.oracle != "none" or "ambiguous" in self.analyses

    @model_validator(mode="after")
    def _check(self) -> "PostprocessConfig":
        if len(set(self.tta_scales)) != len(self.tta_scales):
            raise ValueError(f"tta_scales={list(self.tta_scales)}: must be different")
        asks = f"oracle={self.oracle}" if self.oracle != "none" else "analyses=[ambiguous]"
        if self.needs_truth and (self.tta_flip or self.tta_scales != (1.0,)):
            raise ValueError(
                f"{asks}: is about the locations of the image as it is; leave tta_scales and tta_flip out with it"
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


class ModelConfig(Section):
    # Pyramid levels in use; level l has stride 2**l.
    levels: tuple[int, ...]
    # Batches are padded to multiples of this.
    size_divisor: int = Field(32, ge=1)
    # One square of 8 strides, or RetinaNet's nine, each with predictions of its own.
    anchors_per_location: Literal[1, 9] = 1
    # How many boxes a location may answer for, each with predictions of its own (K of v2's section 4.4, MIP).
    targets_per_location: Literal[1, 2] = 1
    # What is subtracted from red, green and blue of 0..1, and what then divides them: ImageNet's, as torchvision's
    # backbones want it.
    pixel_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
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
        if min(self.pixel_std) <= 0:
            raise ValueError(f"pixel_std={list(self.pixel_std)}: every deviation must be above 0")
        levels = list(self.levels)
        if not levels or levels != list(range(levels[0], levels[0] + len(levels))):
            raise ValueError(f"levels={levels}: must be consecutive and not empty, such as [3, 4, 5, 6, 7]")
        if not 2 <= levels[0] <= 5 or levels[-1] > 8:
            raise ValueError(f"levels={levels}: the first must lie in 2..5 and the last must be at most 8")
        if len(self.assignment.ranges) != len(levels):
            raise ValueError(
                f"assignment.ranges has {len(self.assignment.ranges)} ranges for {len(levels)} levels {levels}; "
                "give one [low, high] for each level"
            )
        if self.fpn.kind == "bifpn" and len(levels) < 2:
            raise ValueError(f"fpn.kind=bifpn: has nothing to fuse with levels={levels}; it needs two or more")
        if self.head.quality == "none" and self.postprocess.quality == "branch":
            raise ValueError(
                "postprocess.quality=branch needs a branch, and head.quality=none builds none; "
                "set postprocess.quality to none or from_regression"
            )
        if self.head.norm == "bn_per_level" and self.head.across_levels == "separate":
            raise ValueError(
                "head.norm=bn_per_level: where head.across_levels=separate every norm belongs to one level; give bn"
            )
        if self.anchors_per_location > 1:
            self._check_anchors()
        if self.targets_per_location > 1:
            self._check_targets()
        elif self.postprocess.suppression == "set_nms":
            raise ValueError(
                "postprocess.suppression=set_nms: spares the other predictions of a location, and "
                "targets_per_location=1 gives it only one; set it to nms"
            )
        if self.head.norm == "gn" and self.fpn.channels % self.head.gn_groups:
            raise ValueError(f"head.gn_groups={self.head.gn_groups} does not divide fpn.channels={self.fpn.channels}")
        return self

    @model_validator(mode="after")
    def _check_assignment(self) -> "ModelConfig":
        """What goes together with how locations are assigned to boxes."""
        assignment, loss, rule = self.assignment, self.loss, self.postprocess
        if loss.regression == "log_l1" and assignment.kind == "retinanet":
            raise ValueError(
                "loss.regression=log_l1: takes the logarithm of distances, and assignment.kind=retinanet also has "
                "locations outside of their boxes, where they are negative; give l1"
            )
        if loss.regression == "log_l1" and self.head.regression == "deltas":
            raise ValueError(
                "loss.regression=log_l1: takes the logarithm of distances, which head.regression=deltas may predict "
                "below 0; give l1"
            )
        if rule.oracle != "none" and assignment.tie_break == "random":
            raise ValueError(
                f"postprocess.oracle={rule.oracle}: which box a location answers for would be drawn anew at every "
                "evaluation; give another assignment.tie_break than random"
            )
        claims = assignment.kind == "center" or (assignment.kind, assignment.level_rule) == ("fcos", "longest_offset")
        if "ambiguous" in rule.analyses and not claims:
            raise ValueError(
                "postprocess.analyses=[ambiguous]: counts the claims of assignment.kind=fcos with "
                "level_rule=longest_offset, and of kind=center; leave it out"
            )
        return self

    def _check_anchors(self) -> None:
        given = f"anchors_per_location={self.anchors_per_location}"
        if self.assignment.kind != "retinanet":
            raise ValueError(
                f"{given} needs assignment.kind=retinanet, which tells the anchors of a location apart; "
                f"with assignment.kind={self.assignment.kind} all would learn the same"
            )
        if self.head.regression != "deltas":
            raise ValueError(
                f"{given} needs head.regression=deltas; with {self.head.regression} no box starts from its anchor"
            )
        if self.postprocess.suppression == "peaks":
            raise ValueError(f"{given}: postprocess.suppression=peaks looks for one peak at a location; set it to nms")

    def _check_targets(self) -> None:
        anchors, kind, rule = self.anchors_per_location, self.assignment.kind, self.postprocess
        refused = {
            f"anchors_per_location={anchors}": anchors > 1 and "has a prediction for each anchor already",
            f"assignment.kind={kind}": kind != "fcos" and "finds one box for a location; set it to fcos",
            "head.regression=deltas": self.head.regression == "deltas"
            and "would start all predictions of a location from one anchor; set it to exp or relu",
            "postprocess.suppression=peaks": rule.suppression == "peaks"
            and "looks for one peak at a location; set it to nms or set_nms",
            f"postprocess.oracle={rule.oracle}": rule.oracle != "none"
            and "knows one box of a location, and not which prediction's it is",
            "postprocess.analyses=[ambiguous]": "ambiguous" in rule.analyses
            and "counts detections of locations that leave boxes out",
        }
        for setting, reason in refused.items():
            if reason:
                raise ValueError(f"targets_per_location={self.targets_per_location}: {setting} {reason}")
