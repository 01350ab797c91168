"""Test-time augmentation: detect at several scales and mirrored, and merge the detections (v2 Table 8)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Int, UInt8
from torch import Tensor

from fcos.config.model_parts import PostprocessConfig
from fcos.postprocess.nms import apply_nms
from fcos.structures import Batch, Detections


@dataclass(frozen=True)
class Augmentation:
    """A change of the images before detection.

    The scale is relative to an image's size in evaluation.
    """

    scale: float = 1.0
    mirrored: bool = False


def augmentations(config: PostprocessConfig) -> tuple[Augmentation, ...]:
    """Return the configured augmentations: every scale, and with `tta_flip` every scale mirrored too."""
    flips = (False, True) if config.tta_flip else (False,)
    return tuple(Augmentation(scale, mirrored) for scale in config.tta_scales for mirrored in flips)


def augment(batch: Batch, augmentation: Augmentation) -> Batch:
    """Scale and mirror the images of a batch, on its device.

    The targets are left as they are.
    """
    pixels, sizes = batch.pixels, batch.sizes
    if augmentation.scale != 1:
        canvas = [round(side * augmentation.scale) for side in pixels.shape[-2:]]
        factor = torch.tensor(canvas, device=sizes.device) / torch.tensor(pixels.shape[-2:], device=sizes.device)
        sizes = (sizes * factor).round().to(sizes.dtype).clamp(min=1)
        scaled = F.interpolate(pixels.float(), size=canvas, mode="bilinear", antialias=True)
        pixels = scaled.round().clamp(0, 255).to(torch.uint8)
    if augmentation.mirrored:
        pixels = _mirror(pixels, sizes)
    return replace(batch, pixels=pixels, sizes=sizes)


def _mirror(pixels: UInt8[Tensor, "B 3 H W"], sizes: Int[Tensor, "B 2"]) -> UInt8[Tensor, "B 3 H W"]:
    """Mirror each image within its own width; the padding stays on the right."""
    column = torch.arange(pixels.shape[-1], device=pixels.device)
    width = sizes[:, 1:]
    source = torch.where(column < width, width - 1 - column, column)
    return pixels.gather(3, source[:, None, None].expand(pixels.shape))


def undo(
    augmentation: Augmentation, detections: Sequence[Detections], original_sizes: Int[Tensor, "B 2"]
) -> list[Detections]:
    """Map the detections of each augmented image back to the original image, in its pixels."""
    if not augmentation.mirrored:
        return list(detections)
    return [_mirror_boxes(item, width) for item, width in zip(detections, original_sizes[:, 1], strict=True)]


def _mirror_boxes(detections: Detections, width: Int[Tensor, ""]) -> Detections:
    x1, y1, x2, y2 = detections.boxes.unbind(1)
    return replace(detections, boxes=torch.stack([width - x2, y1, width - x1, y2], dim=1))


def merge(parts: Sequence[Sequence[Detections]], config: PostprocessConfig) -> list[Detections]:
    """Merge the detections of each image over all augmentations, one list of images per augmentation.

    suppression=peaks compares scores within one augmentation only, so NMS merges several of them. Locations of
    different augmentations are different locations. What is merged is clipped, and includes the last pixel of a box.
    """
    if len(parts) == 1:
        return list(parts[0])
    suppression = "nms" if config.suppression == "peaks" else config.suppression
    config = config.model_copy(update={"suppression": suppression, "nms_corners": "plain"})
    return [_merge_image(per_augmentation, config) for per_augmentation in zip(*parts, strict=True)]


def _merge_image(parts: Sequence[Detections], config: PostprocessConfig) -> Detections:
    columns = (torch.cat([getattr(part, name) for part in parts]) for name in ("boxes", "scores", "labels"))
    boxes, scores, labels = columns
    order = scores.argsort(descending=True, stable=True)
    boxes, scores, labels = boxes[order], scores[order], labels[order]
    locations = _distinct_locations(parts)
    keep = apply_nms(config, boxes, scores, labels, None if locations is None else locations[order])
    return Detections(boxes[keep], scores[keep], labels[keep])


def _distinct_locations(parts: Sequence[Detections]) -> Int[Tensor, " N"] | None:
    """Return location indices that differ between augmentations, or None where detections have no locations."""
    locations = [part.locations for part in parts if part.locations is not None]
    # 2^32 is far more than there are locations in one augmentation.
    return torch.cat([index + (number << 32) for number, index in enumerate(locations)]) if locations else None
