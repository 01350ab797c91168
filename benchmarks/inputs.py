"""What the benchmarks feed to both sides: boxes, anchors, targets and head outputs of torchvision's FCOS.

The grid is 800x1344 by default, its strides and ranges those of model=torchvision.
"""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.image_list import ImageList

from fcos.config.model_parts import AssignmentConfig
from fcos.data.loader import box_bucket
from fcos.geometry import compute_locations
from fcos.structures import Locations, Targets

CPU = torch.device("cpu")
SIZE = (800, 1344)
CLASSES = 80
STRIDES = (8, 16, 32, 64, 128)
RADIUS = 1.5
RULE = AssignmentConfig(
    ranges=((0.0, 64.0), (64.0, 128.0), (128.0, 256.0), (256.0, 512.0), (512.0, None)),
    ends="open",
    center_sampling_radius=RADIUS,
)


def shapes(size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """Return rows and columns of each level."""
    return tuple((-(-size[0] // stride), -(-size[1] // stride)) for stride in STRIDES)


def grid(size: tuple[int, int]) -> Locations:
    """Return torchvision's locations, as ours."""
    return compute_locations(shapes(size), STRIDES, size, "torchvision", CPU)


def anchors(size: tuple[int, int], batch: int) -> tuple[list[Tensor], list[int]]:
    """Return torchvision's anchors of each image, and how many there are on each level."""
    generator = AnchorGenerator(tuple((stride,) for stride in STRIDES), ((1.0,),) * len(STRIDES))
    images = ImageList(torch.zeros(batch, 3, *size), [size] * batch)
    features = [torch.zeros(1, 1, rows, columns) for rows, columns in shapes(size)]
    return generator(images, features), [rows * columns for rows, columns in shapes(size)]


def draw_boxes(count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Return boxes of 16 to 600 pixels, log-uniform in scale, that lie in the image.

    Their areas differ by 32 square pixels and more: torchvision subtracts them from 1e8 in float32 and takes nearer
    ones for equal.
    """
    spread = torch.tensor([[size[1], size[0]]])
    kept = torch.zeros(0, 4)
    while len(kept) < count:
        scale = 16 * (600 / 16) ** torch.rand(count, 1, generator=generator)
        aspect = torch.exp(torch.randn(count, 1, generator=generator) * 0.4)
        sides = torch.cat((scale * aspect, scale / aspect), dim=1).minimum(spread * 0.9)
        corner = torch.rand(count, 2, generator=generator) * (spread - sides)
        kept = torch.cat((kept, torch.cat((corner, corner + sides), dim=1)))
        areas = ((kept[:, 2] - kept[:, 0]) * (kept[:, 3] - kept[:, 1])).tolist()
        taken: dict[int, int] = {}
        for index, area in enumerate(areas):
            cell = int(area // 64)
            # Cells of 64 with the outer halves left empty keep 32 between any two.
            if cell not in taken and 16 <= area % 64 < 48:
                taken[cell] = index
        kept = kept[list(taken.values())]
    return kept[torch.randperm(len(kept), generator=generator)[:count]]


def draw_targets(count: int, batch: int, size: tuple[int, int]) -> tuple[list[dict[str, Tensor]], Targets]:
    """Return the same boxes and labels as torchvision takes them and as we do, padded to the loader's bucket."""
    generator = torch.Generator().manual_seed(count)
    theirs = [
        {
            "boxes": draw_boxes(count, size, generator),
            "labels": torch.randint(0, CLASSES, (count,), generator=generator),
        }
        for _ in range(batch)
    ]
    bucket = box_bucket(count)
    ours = Targets(
        torch.zeros(batch, bucket, 4),
        torch.zeros(batch, bucket, dtype=torch.long),
        (torch.arange(bucket) < count).expand(batch, bucket).contiguous(),
    )
    for row, target in enumerate(theirs):
        ours.boxes[row, :count], ours.labels[row, :count] = target["boxes"], target["labels"]
    return theirs, ours


def peer_matcher() -> Any:
    """Return what torchvision's FCOS.compute_loss needs as `self` for its assignment alone."""
    head = SimpleNamespace(compute_loss=lambda targets, outputs, anchors, matched: matched)
    return SimpleNamespace(center_sampling_radius=RADIUS, head=head)


def peer_loss() -> Any:
    """Return torchvision's FCOS without its network: assignment and losses."""
    return SimpleNamespace(center_sampling_radius=RADIUS, head=FCOSHead(32, 1, CLASSES, 1))


def compute_loss(peer: Any, targets: Any, outputs: Any, peer_anchors: list[Tensor], per_level: list[int]) -> Any:
    """Call torchvision's FCOS.compute_loss on one of the stand-ins above."""
    return FCOS.compute_loss(peer, targets, outputs, peer_anchors, per_level)
