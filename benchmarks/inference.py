"""Images to detections against torchvision's FCOS R50: python benchmarks/inference.py

Two images of 512x512, from pixels to detections, with the same weights, float32 on one core. Detections must be equal:
labels and order exactly, scores to 1e-4, boxes to 1e-2 pixels.
"""

from collections.abc import Iterator
from typing import Any

import torch
from detectors import build_pair, draw_batch, model_config
from inputs import CPU, draw_targets
from side_by_side import Case, main, require
from torch import Tensor, nn

from fcos.assignment.build import build_locate
from fcos.evaluation.detect import Inference, detect
from fcos.postprocess.decode import Postprocess
from fcos.structures import Detections


def case(batch: int, size: tuple[int, int]) -> Case:
    """Return the case of one batch through both."""
    peer, detector = build_pair(size, channels_last=True, device=CPU)
    # Random weights give the same everywhere; with these some detections pass the threshold.
    pair: list[tuple[nn.Module, Any, Any]] = [
        (peer, peer.head.classification_head.cls_logits, peer.head.regression_head.bbox_reg),
        (detector, detector.head.classification, detector.head.regression),
    ]
    with torch.no_grad():
        for model, logits, distances in pair:
            model.eval()
            logits.bias.fill_(-2.5), distances.bias.fill_(2.0)
            logits.weight.mul_(10), distances.weight.mul_(10)
    images, _, whole = draw_batch(batch, size, draw_targets(7, batch, size), CPU)
    config = model_config()
    rule = {"": Postprocess(config.postprocess, config.assignment.corners)}
    inference = Inference(rule, build_locate(config), CPU, "fp32")

    def run_peer() -> list[dict[str, Tensor]]:
        with torch.no_grad():
            found: list[dict[str, Tensor]] = peer(images)
        return found

    def run_ours() -> list[Detections]:
        found = detect(detector, [whole], inference)[""]
        return [found[image] for image in whole.image_ids]

    def same(theirs: list[dict[str, Tensor]], ours: list[Detections]) -> str:
        for peer_image, found in zip(theirs, ours, strict=True):
            require(torch.equal(peer_image["labels"], found.labels), "labels or their order")
            require(torch.allclose(peer_image["scores"], found.scores, rtol=1e-4, atol=0), "scores")
            require(torch.allclose(peer_image["boxes"], found.boxes, rtol=0, atol=1e-2), "boxes")
        total = sum(len(found.labels) for found in ours)
        require(total > 0, "there is no detection")
        return f"{total} equal detections"

    return Case(f"inference, R50 {batch}x{size[0]}x{size[1]}", run_peer, run_ours, same, images=batch)


def cases() -> Iterator[Case]:
    """Yield the cases that a core does in a second or two."""
    yield case(2, (512, 512))


if __name__ == "__main__":
    main(__doc__ or "", cases)
