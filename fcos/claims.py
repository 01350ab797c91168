"""Which boxes a location may answer for, before one of them wins it: for what is counted, not for training."""

from jaxtyping import Float, Int
from torch import Tensor

from fcos import assign, center_only
from fcos.model_parts import AssignmentConfig
from fcos.structures import Locations


def claims_of(
    rule: AssignmentConfig, boxes: Float[Tensor, "M 4"], places: Locations
) -> tuple[Int[Tensor, " K"], Int[Tensor, " K"]]:
    """Every pair (box, location) of an image that the assignment chooses from, as indices in no order.

    Of kind=center, and of kind=fcos with level_rule=longest_offset; masks are left to the caller. How many pairs
    there are is read back from the device.
    """
    if rule.kind == "center":
        return center_only.claims(boxes, places, rule.ranges, rule.ends)
    return assign.claims(boxes, places, rule.ranges, rule.ends, rule.center_sampling_radius)
