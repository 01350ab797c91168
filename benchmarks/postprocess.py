"""Post-processing against torchvision's FCOS: python benchmarks/postprocess.py

From flat head outputs, and from what the convolutions give (NCHW, one tensor for each level), where both sides' own
permuting and joining counts too. Detections must be equal: labels and order exactly, boxes and scores to 1e-5.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from inputs import CLASSES, SIZE, STRIDES, anchors, draw_boxes, grid, shapes
from side_by_side import Case, main, require
from torch import Tensor
from torchvision.models.detection import FCOS
from torchvision.models.detection._utils import BoxLinearCoder

from fcos.config.model_parts import PostprocessConfig
from fcos.geometry import centerness, ltrb_from_boxes
from fcos.model.head import flatten
from fcos.postprocess.decode import Postprocess
from fcos.structures import Detections, HeadOutputs

THRESHOLD, NMS_THRESHOLD, TOPK, KEPT = 0.2, 0.6, 1000, 100
Maps = dict[str, list[Tensor]]


def trained_maps(batch: int, size: tuple[int, int], objects: int) -> Maps:
    """Return convolution outputs as of a trained head: low scores, and objects that many locations predict."""
    generator = torch.Generator().manual_seed(0)
    locations = grid(size)
    logits = torch.randn(batch, len(locations.xy), CLASSES, generator=generator) * 0.7 - 6.5
    distances = torch.rand(batch, len(locations.xy), 4, generator=generator) * 4
    quality = torch.randn(batch, len(locations.xy), generator=generator)
    for image in range(batch):
        boxes = draw_boxes(objects, size, generator)
        for box, label in zip(boxes, torch.randint(0, CLASSES, (objects,), generator=generator), strict=True):
            ltrb = ltrb_from_boxes(locations.xy, box.expand(len(locations.xy), 4))
            level = (box[2:] - box[:2]).max() / 8
            near = (locations.strides >= level / 2) & (locations.strides < level) & (ltrb.amin(1) > 0)
            logits[image, near, label] = torch.randn(int(near.sum()), generator=generator) + 0.5
            noise = 1 + 0.1 * torch.randn(int(near.sum()), 4, generator=generator)
            distances[image, near] = ltrb[near] * noise / locations.strides[near, None]
            quality[image, near] = 6 * centerness(ltrb[near]) - 2
    return _as_maps(logits, distances, quality[..., None], size)


def untrained_maps(batch: int, size: tuple[int, int]) -> Maps:
    """Return convolution outputs as early in training: scores over the threshold anywhere, boxes over each other."""
    generator = torch.Generator().manual_seed(0)
    count = sum(rows * columns for rows, columns in shapes(size))
    logits = torch.randn(batch, count, CLASSES, generator=generator) - 6.7
    distances = torch.rand(batch, count, 4, generator=generator) * 4
    return _as_maps(logits, distances, torch.randn(batch, count, 1, generator=generator), size)


def _as_maps(logits: Tensor, distances: Tensor, quality: Tensor, size: tuple[int, int]) -> Maps:
    maps: Maps = {}
    counts = [rows * columns for rows, columns in shapes(size)]
    for name, flat in (("cls_logits", logits), ("bbox_regression", distances), ("bbox_ctrness", quality)):
        maps[name] = [
            part.unflatten(1, shape).permute(0, 3, 1, 2).contiguous()
            for part, shape in zip(flat.split(counts, dim=1), shapes(size), strict=True)
        ]
    return maps


def peer_flatten(maps: list[Tensor]) -> Tensor:
    """Return outputs as torchvision's heads end, for one anchor at each location."""
    parts = []
    for x in maps:
        count, channels, height, width = x.shape
        part = x.view(count, -1, channels, height, width).permute(0, 3, 4, 1, 2)
        parts.append(part.reshape(count, -1, channels))
    return torch.cat(parts, dim=1)


def same(theirs: list[dict[str, Tensor]], ours: list[Detections]) -> str:
    """Compare every image's detections."""
    for peer, found in zip(theirs, ours, strict=True):
        require(torch.equal(peer["labels"], found.labels), "labels or their order")
        require(torch.allclose(peer["scores"], found.scores, rtol=1e-5, atol=0), "scores")
        require(torch.allclose(peer["boxes"], found.boxes, rtol=1e-5, atol=1e-3), "boxes")
    total = sum(len(found.labels) for found in ours)
    require(total > 0, "there is no detection")
    return f"{total} equal detections"


def sides(batch: int, size: tuple[int, int]) -> tuple[Callable[[Any], Any], Callable[[HeadOutputs], Any]]:
    """Return the two functions from flat outputs to detections, torchvision's and ours."""
    peer_anchors, per_level = anchors(size, batch)
    split = [list(each.split(per_level)) for each in peer_anchors]
    peer: Any = SimpleNamespace(
        score_thresh=THRESHOLD, nms_thresh=NMS_THRESHOLD, topk_candidates=TOPK, detections_per_img=KEPT,
        box_coder=BoxLinearCoder(normalize_by_size=True),
    )  # fmt: skip
    rule = PostprocessConfig(
        score_threshold=THRESHOLD, threshold_on="score", topk_per_level=TOPK, nms_threshold=NMS_THRESHOLD,
        max_detections=KEPT,
    )  # fmt: skip
    postprocess = Postprocess(rule)
    locations, sizes = grid(size), torch.tensor([size] * batch)

    def run_peer(flat: dict[str, Tensor]) -> Any:
        per_level_outputs = {name: list(value.split(per_level, dim=1)) for name, value in flat.items()}
        return FCOS.postprocess_detections(peer, per_level_outputs, split, [size] * batch)

    return run_peer, lambda outputs: postprocess(outputs, locations, sizes, sizes)


def pair(name: str, maps: Maps, size: tuple[int, int], goals: tuple[float | None, float | None]) -> Iterator[Case]:
    """Yield the cases of one input, from flat outputs and from convolution outputs."""
    run_peer, run_ours = sides(len(maps["cls_logits"][0]), size)

    def head_outputs() -> HeadOutputs:
        """Return outputs as our head ends."""
        logits = tuple(flatten(x) for x in maps["cls_logits"])
        levels = zip(maps["bbox_regression"], STRIDES, strict=True)
        distances = torch.cat([flatten(x) * stride for x, stride in levels], dim=1)
        quality = torch.cat([flatten(x).squeeze(-1) for x in maps["bbox_ctrness"]], dim=1)
        return HeadOutputs(logits, distances, quality, shapes(size))

    flat = {key: peer_flatten(value) for key, value in maps.items()}
    of_levels = flat["cls_logits"].split([rows * columns for rows, columns in shapes(size)], dim=1)
    ours = replace(head_outputs(), logits=of_levels)
    yield Case(f"{name}, flat outputs", lambda: run_peer(flat), lambda: run_ours(ours), same, goal=goals[0])
    yield Case(
        f"{name}, convolution outputs",
        lambda: run_peer({key: peer_flatten(value) for key, value in maps.items()}),
        lambda: run_ours(head_outputs()),
        same,
        goal=goals[1],
    )


def cases() -> Iterator[Case]:
    """Yield the cases of 80 classes at 800x1344."""
    for batch in (1, 8):
        goals = (6, 10) if batch == 8 else (None, None)
        with torch.inference_mode():
            yield from pair(f"post-processing, trained-like, batch {batch}", trained_maps(batch, SIZE, 12), SIZE, goals)
            yield from pair(f"post-processing, untrained-like, batch {batch}", untrained_maps(batch, SIZE), SIZE, goals)


if __name__ == "__main__":
    main(__doc__ or "", cases)
