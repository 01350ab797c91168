"""Build the locations and the target assignment of a configured detector."""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from fcos.assignment.anchors import anchor_sizes
from fcos.assignment.atss import match_atss
from fcos.assignment.center import center_candidates, match_center
from fcos.assignment.encode import encode_targets
from fcos.assignment.fcos import assign_fcos, fcos_candidates
from fcos.assignment.retinanet import match_retinanet
from fcos.assignment.simota import match_simota, match_yolox
from fcos.config.model import ModelConfig
from fcos.config.model_parts import AssignmentConfig
from fcos.geometry import compute_locations
from fcos.structures import Assignment, Batch, HeadOutputs, Locations, Targets


@runtime_checkable
class Assign(Protocol):
    """Target assignment of a batch; kinds that depend on predictions need the head outputs."""

    def __call__(self, targets: Targets, locations: Locations, outputs: HeadOutputs | None = None, /) -> Assignment: ...


def build_locate(config: ModelConfig) -> Callable[[Batch], Locations]:
    """Return the function that computes a batch's locations, on ceil(side / stride) rows and columns per level."""
    # None stands for one square anchor of 8 strides.
    anchors = None if config.anchors_per_location == 1 else anchor_sizes(config.anchors_per_location)

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
    """Return the configured target assignment; `compiled` runs the encoding of targets through torch.compile."""
    setting = config.assignment

    def assign(targets: Targets, locations: Locations, outputs: HeadOutputs | None = None) -> Assignment:
        ignored = None
        assert targets.masks is not None or not setting.by_masks, "assignment by masks needs targets with masks"
        match setting.kind:
            case "fcos":
                return assign_fcos(targets, locations, setting, compiled=compiled)
            case "atss":
                matched = match_atss(targets, locations, setting.candidates_per_level)
            case "center":
                matched = match_center(targets, locations, setting.ranges, setting.ends, setting.corners)
            case "retinanet":
                matched, ignored = match_retinanet(targets, locations, setting.low_quality)
            case "simota":
                assert outputs is not None, "simota assigns after the forward pass"
                match_by_outputs = match_simota if setting.simota_rule == "inside_box" else match_yolox
                matched = match_by_outputs(targets, locations, outputs, setting.center_sampling_radius)
        return replace(encode_targets(matched, targets, locations.xy, compiled=compiled), ignored=ignored)

    return assign


def candidate_pairs(
    config: AssignmentConfig, boxes: Float[Tensor, "M 4"], locations: Locations
) -> tuple[Int[Tensor, " K"], Int[Tensor, " K"]]:
    """Return all candidate pairs (box, location) of one image as two index tensors, in no order.

    Only for kind=center, and for kind=fcos with level_rule=longest_offset. Masks are not considered. Reads the number
    of pairs back from the device.
    """
    if config.kind == "center":
        return center_candidates(boxes, locations, config.ranges, config.ends)
    return fcos_candidates(boxes, locations, config.ranges, config.ends, config.center_sampling_radius)
