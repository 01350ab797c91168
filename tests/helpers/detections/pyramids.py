"""Small pyramids of locations, targets for them, and head outputs on them."""

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from fcos.config.model_parts import AssignmentConfig
from fcos.geometry import compute_locations
from fcos.structures import HeadOutputs, Locations, Targets

CPU = torch.device("cpu")
RANGES = ((0.0, 32.0), (32.0, 64.0), (64.0, None))
STRIDES = (8, 16, 32)
CLASSES = 3


def pyramid(height: int = 128, width: int = 160, kind: str = "half_stride", strides=STRIDES) -> Locations:
    shapes = tuple((-(-height // s), -(-width // s)) for s in strides)
    return compute_locations(shapes, strides, (height, width), kind, CPU)


def fcos_rule(ends: str = "closed", radius: float | None = None, **changes: Any) -> AssignmentConfig:
    """The settings of FCOS's assignment on the pyramid's ranges."""
    values = {"ranges": RANGES, "ends": ends, "center_sampling_radius": radius, **changes}
    return AssignmentConfig(**values)


def targets_of(*images: list[list[float]], labels: list[list[int]] | None = None) -> Targets:
    most = max(1, *(len(boxes) for boxes in images))
    padded = torch.zeros(len(images), most, 4)
    valid = torch.zeros(len(images), most, dtype=torch.bool)
    classes = torch.zeros(len(images), most, dtype=torch.long)
    for row, boxes in enumerate(images):
        if boxes:
            padded[row, : len(boxes)] = torch.tensor(boxes)
            valid[row, : len(boxes)] = True
            classes[row, : len(boxes)] = torch.tensor(labels[row]) if labels else torch.arange(len(boxes))
    return Targets(padded, classes, valid)


def outputs_of(locations: Locations, batch: int, seed: int = 0, quality: bool = True) -> HeadOutputs:
    """Return random outputs of CLASSES classes, whose boxes grow with the stride."""
    generator = torch.Generator().manual_seed(seed)
    num = len(locations.xy)
    logits = torch.randn(batch, num, CLASSES, generator=generator)
    ltrb = torch.rand(batch, num, 4, generator=generator) * locations.strides[:, None] * 4
    counts = [rows * columns for rows, columns in locations.shapes]
    quality_logits = torch.randn(batch, num, generator=generator) if quality else None
    return HeadOutputs(logits.split(counts, dim=1), ltrb, quality_logits, locations.shapes)


def in_range(rule: str, far: Tensor, boxes: Tensor, low: Tensor, high: Tensor, ends: str) -> Tensor:
    """Whether the level rule gives each location's level the box: locations x boxes."""
    width, height = (boxes[:, 2:] - boxes[:, :2]).unbind(-1)
    size = {
        "longest_offset": far,
        "longer_side": (torch.maximum(width, height) / 2).expand_as(far),
        "sqrt_area": ((width * height).sqrt() / 2).expand_as(far),
    }[rule]
    if ends == "closed":
        return (size >= low[:, None]) & (size <= high[:, None])
    return (size > low[:, None]) & (size < high[:, None])


coordinate = st.integers(-40, 700).map(lambda n: n / 4)
box = st.tuples(coordinate, coordinate, st.integers(0, 600), st.integers(0, 600)).map(
    lambda b: [b[0], b[1], b[0] + b[2] / 4, b[1] + b[3] / 4]
)
