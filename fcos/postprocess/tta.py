"""Test-time augmentation: images at other scales and mirrored, their detections put together (v2 Table 8)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Int, UInt8
from torch import Tensor

from fcos.config.model_parts import PostprocessConfig
from fcos.postprocess.nms import survivors
from fcos.structures import Batch, Detections


@dataclass(frozen=True)
class View:
    """How a batch is shown to the detector; the scale is relative to the size that evaluation gives an image."""

    scale: float = 1.0
    mirrored: bool = False


def views(scales: Sequence[float], flip: bool) -> tuple[View, ...]:
    """Every scale, and with `flip` every scale mirrored too."""
    return tuple(View(scale, mirrored) for scale in scales for mirrored in ((False, True) if flip else (False,)))


def shown(batch: Batch, view: View) -> Batch:
    """The batch as a view has it, on its device; its targets stay as they are, which evaluation never looks at."""
    pixels, sizes = batch.pixels, batch.sizes
    if view.scale != 1:
        canvas = [round(side * view.scale) for side in pixels.shape[-2:]]
        factor = torch.tensor(canvas, device=sizes.device) / torch.tensor(pixels.shape[-2:], device=sizes.device)
        sizes = (sizes * factor).round().to(sizes.dtype).clamp(min=1)
        scaled = F.interpolate(pixels.float(), size=canvas, mode="bilinear", antialias=True)
        pixels = scaled.round().clamp(0, 255).to(torch.uint8)
    if view.mirrored:
        pixels = _mirrored(pixels, sizes)
    return replace(batch, pixels=pixels, sizes=sizes)


def _mirrored(pixels: UInt8[Tensor, "B 3 H W"], sizes: Int[Tensor, "B 2"]) -> UInt8[Tensor, "B 3 H W"]:
    """Each image mirrored within its own width; the padding stays on the right."""
    column = torch.arange(pixels.shape[-1], device=pixels.device)
    width = sizes[:, 1:]
    source = torch.where(column < width, width - 1 - column, column)
    return pixels.gather(3, source[:, None, None].expand(pixels.shape))


def back_from(view: View, found: Sequence[Detections], original_sizes: Int[Tensor, "B 2"]) -> list[Detections]:
    """Detections of each image of a view where they lie in the original image, in its pixels."""
    if not view.mirrored:
        return list(found)
    return [_mirrored_boxes(each, width) for each, width in zip(found, original_sizes[:, 1], strict=True)]


def _mirrored_boxes(found: Detections, width: Int[Tensor, ""]) -> Detections:
    x1, y1, x2, y2 = found.boxes.unbind(1)
    return replace(found, boxes=torch.stack([width - x2, y1, width - x1, y2], dim=1))


def together(parts: Sequence[Sequence[Detections]], rule: PostprocessConfig) -> list[Detections]:
    """Detections of each image over all views, a list for each: those that the rule keeps of them.

    Peaks are of one view each, so that NMS puts those of several together; locations of different views are different.
    """
    if len(parts) == 1:
        return list(parts[0])
    if rule.suppression == "peaks":
        rule = rule.model_copy(update={"suppression": "nms"})
    return [_merged(of_image, rule) for of_image in zip(*parts, strict=True)]


def _merged(found: Sequence[Detections], rule: PostprocessConfig) -> Detections:
    columns = (torch.cat([getattr(each, name) for each in found]) for name in ("boxes", "scores", "labels"))
    boxes, scores, labels = columns
    order = scores.argsort(descending=True, stable=True)
    boxes, scores, labels = boxes[order], scores[order], labels[order]
    places = _places(found)
    keep = survivors(rule, boxes, scores, labels, None if places is None else places[order])
    return Detections(boxes[keep], scores[keep], labels[keep])


def _places(found: Sequence[Detections]) -> Int[Tensor, " N"] | None:
    """A number for every location of every view, or None where detections do not know theirs."""
    places = [each.locations for each in found if each.locations is not None]
    # Far more than there are locations in a view.
    return torch.cat([own + (view << 32) for view, own in enumerate(places)]) if places else None
