"""Build locations and assignment of a configured detector."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from fcos.assignment import atss, center, retinanet, simota
from fcos.assignment.anchors import sizes_in_strides
from fcos.assignment.encode import fill
from fcos.assignment.fcos import assign, claims
from fcos.config.model import ModelConfig
from fcos.config.model_parts import AssignmentConfig
from fcos.geometry import compute_locations
from fcos.structures import Assignment, Batch, HeadOutputs, Locations, Targets


@runtime_checkable
class Assign(Protocol):
    """Which location answers for which box; some assignments look at what the detector says of the images."""

    def __call__(self, targets: Targets, locations: Locations, outputs: HeadOutputs | None = None, /) -> Assignment: ...


def build_locate(config: ModelConfig) -> Callable[[Batch], Locations]:
    """Where the locations of a batch lie; its pyramid has ceil(side / stride) rows and columns on each level."""
    # None is the one square of 8 strides.
    anchors = None if config.anchors_per_location == 1 else sizes_in_strides(config.anchors_per_location)

    def locate(batch: Batch) -> Locations:
        height, width = batch.pixels.shape[-2:]
        shapes = tuple((-(-height // stride), -(-width // stride)) for stride in config.strides)
        return compute_locations(
            shapes,
            config.strides,
            (height, width),
            config.assignment.locations,
            batch.pixels.device,
            anchors=anchors,
            targets=config.targets_per_location,
        )

    return locate


def build_assign(config: ModelConfig, *, compiled: bool = False) -> Assign:
    """The configured assignment of locations to boxes."""
    setting = config.assignment
    rules: dict[str, Any] = {
        "ranges": setting.ranges,
        "ends": setting.ends,
        "center_sampling_radius": setting.center_sampling_radius,
        "box_convention": setting.corners,
        "level_rule": setting.level_rule,
        "tie_break": setting.tie_break,
    }

    def answer(targets: Targets, places: Locations, outputs: HeadOutputs | None = None) -> Assignment:
        ignored = None
        assert targets.masks is not None or not setting.by_masks, "masks are read where they are asked for"
        match setting.kind:
            case "fcos":
                return assign(targets, places, **rules, compiled=compiled)
            case "atss":
                matched = atss.match(targets, places, setting.candidates_per_level)
            case "center":
                matched = center.match(targets, places, setting.ranges, setting.ends, setting.corners)
            case "retinanet":
                matched, ignored = retinanet.match(targets, places, setting.low_quality)
            case "simota":
                assert outputs is not None, "it is assigned after the forward pass"
                matched = simota.match(targets, places, outputs, setting.center_sampling_radius)
        return replace(fill(matched, targets, places.xy, compiled=compiled), ignored=ignored)

    return answer


def claims_of(
    rule: AssignmentConfig, boxes: Float[Tensor, "M 4"], places: Locations
) -> tuple[Int[Tensor, " K"], Int[Tensor, " K"]]:
    """Every pair (box, location) of an image that the assignment chooses from, as indices in no order.

    Of kind=center, and of kind=fcos with level_rule=longest_offset; masks are left to the caller. How many pairs
    there are is read back from the device.
    """
    if rule.kind == "center":
        return center.claims(boxes, places, rule.ranges, rule.ends)
    return claims(boxes, places, rule.ranges, rule.ends, rule.center_sampling_radius)
