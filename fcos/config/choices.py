"""Types of the values that settings choose from, shared by the schema and the code that uses them."""

from typing import Final, Literal

# Data and training.
Split = Literal["train", "val"]
SPLITS: Final[tuple[Split, ...]] = ("train", "val")
OnBadImage = Literal["error", "skip"]
Crowds = Literal["ignore", "objects"]
ExifOrientation = Literal["ignore", "apply"]
Optimizer = Literal["sgd", "adamw"]
Warmup = Literal["linear", "constant"]
Decay = Literal["step", "cosine", "none"]
Precision = Literal["fp32", "bf16", "fp16"]

# Network.
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
# own: the norms of a timm network that has no batch norms, such as layer norms.
BackboneNorm = Literal["frozen_bn", "bn", "sync_bn", "own"]
PyramidNorm = Literal["none", "bn", "sync_bn"]
HeadNorm = Literal["gn", "bn", "bn_per_level", "sync_bn", "none"]
ExtraLevelsFrom = Literal["p5", "c5"]
Towers = Literal["separate", "shared"]
Quality = Literal["none", "centerness", "iou"]
QualityBranch = Literal["classification", "regression", "own"]

# Target assignment.
LevelRule = Literal["longest_offset", "longer_side", "sqrt_area", "fpn"]
TieBreak = Literal["smallest_area", "closest_center", "random"]
LowQuality = Literal["none", "iou0_4", "all"]
SimotaRule = Literal["inside_box", "yolox"]
# Whether a value equal to an end of a range belongs to the level.
Ends = Literal["closed", "open"]
# Positions of locations: offset by half a stride (papers), or torchvision's grid from the corner.
Placement = Literal["half_stride", "torchvision"]
# plain: x2 = x + w. inclusive: x2 = x + w - 1, areas and clipping count pixels (v1's code).
BoxConvention = Literal["plain", "inclusive"]

# Losses.
RegressionLoss = Literal["iou", "linear_iou", "giou", "diou", "ciou", "l1", "log_l1", "l2"]
QualityLoss = Literal["bce", "l1"]
NormalizerScope = Literal["local", "global", "ema"]
NormalizerFloor = Literal["one_per_step", "one_per_worker"]

# Post-processing and evaluation.
NmsOver = Literal["class", "all"]
TopkBy = Literal["score", "classification"]
Clip = Literal["before_nms", "after_nms"]
DropEmpty = Literal["never", "before_nms", "after_nms"]
Oracle = Literal["none", "centerness", "iou", "class", "class_iou", "box"]
OracleBackground = Literal["predicted", "nothing"]
Analysis = Literal["class_agnostic", "proposals", "score_iou", "ambiguous", "errors", "cost"]

# Coverage statistics of locations and anchors.
Rounding = Literal["half_up", "truncate"]
AnchorRounding = Literal["maskrcnn_benchmark", "detectron2", "torchvision"]
