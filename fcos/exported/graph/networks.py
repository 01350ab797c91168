"""Detectors as modules of tensors alone, which torch.export traces: head outputs, or detections."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from fcos.assignment.anchors import anchor_sizes
from fcos.config.choices import Placement
from fcos.config.model import ModelConfig
from fcos.exported.graph.postprocess import DensePostprocess
from fcos.geometry import origin_and_step
from fcos.model.detector import FCOS
from fcos.structures import HeadOutputs

# Names of inputs and outputs in a file.
PIXELS: Final = "pixels"
SIZES: Final = "sizes"
ORIGINAL_SIZES: Final = "original_sizes"
DETECTIONS: Final = ("boxes", "scores", "labels", "counts")
LTRB: Final = "ltrb"
QUALITY: Final = "quality"


class RawNetwork(nn.Module):
    """Pixels and sizes to the logits of each level, ltrb of all, and the quality where there is one."""

    def __init__(self, detector: FCOS) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, pixels: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        outputs: HeadOutputs = self.detector(pixels, sizes)
        quality = () if outputs.quality is None else (outputs.quality,)
        return (*outputs.logits, outputs.ltrb, *quality)


class DetectingNetwork(nn.Module):
    """Pixels and sizes to detections in pixels of the original images, as `DensePostprocess` returns them."""

    def __init__(self, detector: FCOS, config: ModelConfig) -> None:
        super().__init__()
        self.detector = detector
        self.postprocess = DensePostprocess(config.postprocess, config.assignment.corners)
        self.placement: Placement = config.assignment.locations
        self.repeats = predictions_per_location(config)

    def forward(self, pixels: Tensor, sizes: Tensor, original_sizes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        outputs: HeadOutputs = self.detector(pixels, sizes)
        xy = self._locations(outputs.shapes, pixels)
        detections: tuple[Tensor, Tensor, Tensor, Tensor] = self.postprocess(outputs, xy, sizes, original_sizes)
        return detections

    def _locations(self, shapes: Sequence[tuple[int, int]], pixels: Tensor) -> Tensor:
        """Return the (x, y) of all locations, P x 2, as `compute_locations` does, for sides that are not yet known."""
        height, width = pixels.shape[-2:]
        grids = []
        for (rows, repeated_columns), stride in zip(shapes, self.detector.strides, strict=True):
            columns = repeated_columns // self.repeats
            y, x = (
                torch.arange(count, dtype=torch.float32, device=pixels.device) * step + origin
                for count, (origin, step) in (
                    (rows, origin_and_step(height, rows, stride, self.placement)),
                    (columns, origin_and_step(width, columns, stride, self.placement)),
                )
            )
            x = x[:, None].expand(columns, self.repeats).flatten()
            grid = torch.meshgrid(y, x, indexing="ij")
            grids.append(torch.stack((grid[1].flatten(), grid[0].flatten()), dim=1))
        return torch.cat(grids)


def predictions_per_location(config: ModelConfig) -> int:
    """Return how many predictions a detector makes at each location: of its anchors, or its targets."""
    anchors = 1 if config.anchors_per_location == 1 else len(anchor_sizes(config.anchors_per_location))
    return max(anchors, config.targets_per_location)


def output_names(detector: FCOS, *, detects: bool, has_quality: bool) -> tuple[str, ...]:
    """Return the names of a file's outputs, in the order of the module's."""
    if detects:
        return DETECTIONS
    levels = tuple(f"logits_p{level}" for level in detector.levels)
    return (*levels, LTRB, QUALITY) if has_quality else (*levels, LTRB)


def example_inputs(detector: FCOS, size_divisor: int, *, detects: bool) -> tuple[Tensor, ...]:
    """Return inputs to trace with: two images on a canvas with several rows and columns on every level.

    Sides of one row or column would be taken for constants.
    """
    largest = detector.strides[-1]
    height, width = (-(-factor * largest // size_divisor) * size_divisor for factor in (3, 4))
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8, generator=generator)
    sizes = torch.tensor([[height, width - 8], [height - 8, width]])
    return (pixels, sizes, 2 * sizes) if detects else (pixels, sizes)
