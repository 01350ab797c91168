"""Locations that answer for several boxes, with a prediction for each (MIP, arXiv 2003.09163; v2 section 4.4)."""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from fcos.assign import match_several
from fcos.choices import Grid
from fcos.geometry import locations, repeated
from fcos.structures import Locations, Targets


@lru_cache(maxsize=256)
def several_at_each(
    targets: int,
    shapes: tuple[tuple[int, int], ...],
    strides: tuple[int, ...],
    image_size: tuple[int, int],
    kind: Grid,
    device: torch.device,
) -> Locations:
    """`geometry.locations` with every location there once for each box it may answer for. Do not write to them."""
    places = locations(shapes, strides, image_size, kind, device)
    # What was made in inference mode could not take part in a later training step.
    with torch.inference_mode(False):
        return replace(repeated(places, targets), targets=targets)


def match(targets: Targets, places: Locations, **rules: Any) -> Int[Tensor, "B P"]:
    """Index of the box of each prediction, or NO_OBJECT: a location's first boxes by the tie-break, in that order.

    `rules` are those of fcos.assign.match. Which prediction learns which of them is left open (see fcos.pairing).
    """
    once = slice(None, None, places.targets)
    shapes = tuple((rows, columns // places.targets) for rows, columns in places.shapes)
    single = replace(places, xy=places.xy[once], strides=places.strides[once], shapes=shapes, targets=1)
    return torch.stack(match_several(targets, single, places.targets, **rules), dim=-1).flatten(1)
