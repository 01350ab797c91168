"""The nouns that cross file boundaries. Boxes are float32 xyxy pixels of the network's input; classes are 0..C-1."""

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

# Stands for "no box" in matched indices and for "no object" in labels, everywhere.
NO_OBJECT: Final = -1


@dataclass(frozen=True)
class Targets:
    """Ground truth of a batch, padded to M boxes per image; `valid` marks the real ones."""

    boxes: Float[Tensor, "B M 4"]
    labels: Int[Tensor, "B M"]
    valid: Bool[Tensor, "B M"]
    # What each object covers of its box, in cells of the box's frame; only where locations must lie on it.
    masks: Bool[Tensor, "B M S S"] | None = None


@dataclass(frozen=True)
class Batch:
    """Images padded to a common size, with what is needed to get back to the originals.

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
    """All locations of a pyramid, finest level first, row by row: where they lie and which stride they have."""

    xy: Float[Tensor, "P 2"]
    strides: Float[Tensor, " P"]
    # Per level: rows and columns, (x, y) of the first location, and the steps between locations in pixels.
    shapes: tuple[tuple[int, int], ...]
    origins: tuple[tuple[float, float], ...]
    steps: tuple[tuple[float, float], ...]
    level_strides: tuple[int, ...]
    # Width and height of each location's anchor in pixels; None is a square of 8 strides. A location of several
    # anchors is there once for each, one after the other, and `shapes` counts as many columns.
    anchors: Float[Tensor, "P 2"] | None = None
    # How many boxes a location may answer for, each with a prediction of its own; it is there as often, like anchors.
    targets: int = 1


@dataclass(frozen=True)
class HeadOutputs:
    """What the detector says of every location: class logits, ltrb distances in pixels (float32), quality logit.

    The logits are by far the most, so they stay apart: one view of a convolution's output for each level, finest
    first, in whichever order that output has in memory. Locations go row by row.
    """

    logits: tuple[Float[Tensor, "B _ C"], ...]
    ltrb: Float[Tensor, "B P 4"]
    quality: Float[Tensor, "B P"] | None
    # Rows and columns of each level, finest first; their products add up to P.
    shapes: tuple[tuple[int, int], ...]

    @property
    def joined_logits(self) -> Float[Tensor, "B P C"]:
        """The logits of all levels in one tensor, which is a copy."""
        return torch.cat(self.logits, dim=1)


@dataclass(frozen=True)
class Assignment:
    """Which box each location answers for; NO_OBJECT where none.

    `ltrb` and `centerness` hold ones and zeros where there is no object. A side of `ltrb` is negative where a
    location lies outside of its box, which only anchors may.
    """

    matched: Int[Tensor, "B P"]
    labels: Int[Tensor, "B P"]
    ltrb: Float[Tensor, "B P 4"]
    centerness: Float[Tensor, "B P"]
    # Neither positive nor negative: no class is learned there. None is nowhere.
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
    # Where they come from, and how ambiguous that is (see fcos.postprocess.oracle); only for set NMS and analyses.
    locations: Int[Tensor, " N"] | None = None
    ambiguity: Int[Tensor, " N"] | None = None
