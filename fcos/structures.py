"""Data structures shared by all packages.

Boxes are float32 xyxy in pixels of the network's input; classes are 0..C-1.
"""

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

# "No box" in matched indices and "no object" in labels, everywhere.
NO_OBJECT: Final = -1


@dataclass(frozen=True)
class Targets:
    """Ground truth of a batch, padded to M boxes per image; `valid` marks the real ones."""

    boxes: Float[Tensor, "B M 4"]
    labels: Int[Tensor, "B M"]
    valid: Bool[Tensor, "B M"]
    # Each object's mask as a bitmap in the frame of its box; only where the assignment uses masks.
    masks: Bool[Tensor, "B M S S"] | None = None


@dataclass(frozen=True)
class Batch:
    """Images padded to a common size, with the sizes needed to map boxes back to the original images.

    `pixels` are RGB 0..255; `sizes` are (height, width) before padding and `original_sizes` before resizing.
    """

    pixels: UInt8[Tensor, "B 3 H W"]
    sizes: Int[Tensor, "B 2"]
    original_sizes: Int[Tensor, "B 2"]
    targets: Targets
    image_ids: tuple[int, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Locations:
    """All locations of a pyramid, finest level first, row by row, with their strides in pixels."""

    xy: Float[Tensor, "P 2"]
    strides: Float[Tensor, " P"]
    # Per level: (rows, columns), (x, y) of the first location, and (x, y) steps between locations, in pixels.
    shapes: tuple[tuple[int, int], ...]
    origins: tuple[tuple[float, float], ...]
    steps: tuple[tuple[float, float], ...]
    level_strides: tuple[int, ...]
    # (width, height) of each location's anchor in pixels; None is a square of 8 strides. A location with several
    # anchors is repeated once for each, consecutively, and `shapes` counts the repeated columns.
    anchors: Float[Tensor, "P 2"] | None = None
    # Targets (and predictions) per location; locations are repeated as for anchors.
    targets: int = 1


@dataclass(frozen=True)
class HeadOutputs:
    """Predictions at every location: class logits, ltrb distances in pixels (float32), quality logit.

    The logits are by far the largest part, so they are not concatenated: one view of a convolution's output per level,
    finest first, in the memory layout of that output. Locations go row by row.
    """

    logits: tuple[Float[Tensor, "B _ C"], ...]
    ltrb: Float[Tensor, "B P 4"]
    quality: Float[Tensor, "B P"] | None
    # (rows, columns) of each level, finest first; their products add up to P.
    shapes: tuple[tuple[int, int], ...]

    @property
    def joined_logits(self) -> Float[Tensor, "B P C"]:
        """Return the logits of all levels concatenated, as a copy."""
        return torch.cat(self.logits, dim=1)


@dataclass(frozen=True)
class Assignment:
    """The box assigned to each location (NO_OBJECT for none) and the training targets that follow from it.

    At negatives `ltrb` is 1 and `centerness` 0. A side of `ltrb` is negative where a location lies outside its box,
    which is possible for anchors and for simota_rule=yolox only.
    """

    matched: Int[Tensor, "B P"]
    labels: Int[Tensor, "B P"]
    ltrb: Float[Tensor, "B P 4"]
    centerness: Float[Tensor, "B P"]
    # Neither positive nor negative, without a classification loss; None means nowhere.
    ignored: Bool[Tensor, "B P"] | None = None

    @property
    def positive(self) -> Bool[Tensor, "B P"]:
        return self.matched != NO_OBJECT


@dataclass(frozen=True)
class Detections:
    """Detections of one image, best first; boxes in pixels of the original image."""

    boxes: Float[Tensor, "N 4"]
    scores: Float[Tensor, " N"]
    labels: Int[Tensor, " N"]
    # Location of each detection, and its ambiguity (see fcos.postprocess.oracle); only for set NMS and analyses.
    locations: Int[Tensor, " N"] | None = None
    ambiguity: Int[Tensor, " N"] | None = None
