"""Head outputs to detections: score, threshold, top-k per level, decode, NMS (v1 section 3.1, v2 section 2.3)."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchvision.ops import batched_nms, clip_boxes_to_image

from fcos.geometry import boxes_from_ltrb, centerness
from fcos.structures import Detections, HeadOutputs, Locations


@dataclass(frozen=True)
class _Candidates:
    """Class scores over the threshold, of all images of a batch."""

    image: Int[Tensor, " N"]
    location: Int[Tensor, " N"]
    label: Int[Tensor, " N"]
    score: Float[Tensor, " N"]

    def select(self, index: Tensor) -> "_Candidates":
        return _Candidates(self.image[index], self.location[index], self.label[index], self.score[index])


@dataclass(frozen=True)
class Postprocess:
    """Detections of a batch from what the head says.

    `quality` is what the classification score is combined with, as a product or the root of it. The threshold is
    held against the classification alone or against the combined score, strictly. With inclusive `corners` boxes end
    in their last pixel until they are given out, as in training.
    """

    quality: Literal["none", "branch", "from_regression"]
    score: Literal["product", "sqrt"]
    score_threshold: float
    threshold_on: Literal["classification", "score"]
    topk_per_level: int
    nms_threshold: float
    max_detections: int
    multi_label: bool
    corners: Literal["plain", "inclusive"] = "plain"

    @torch.no_grad()
    def __call__(
        self,
        outputs: HeadOutputs,
        locations: Locations,
        sizes: Int[Tensor, "B 2"],
        original_sizes: Int[Tensor, "B 2"],
    ) -> list[Detections]:
        """Detections of each image, best first, clipped to the image, in pixels of the original image."""
        candidates = self._topk(self._candidates(outputs), locations)
        ltrb = outputs.ltrb[candidates.image, candidates.location]
        boxes = boxes_from_ltrb(locations.xy[candidates.location], ltrb)
        counts = candidates.image.bincount(minlength=sizes.shape[0]).tolist()
        ratios = (original_sizes / sizes).flip(1).repeat(1, 2).to(boxes)
        last_pixel = 1 if self.corners == "inclusive" else 0
        detections = []
        split = zip(
            boxes.split(counts), candidates.score.split(counts), candidates.label.split(counts),
            sizes.tolist(), ratios, strict=True,
        )  # fmt: skip
        for image_boxes, scores, labels, size, ratio in split:
            clipped = clip_boxes_to_image(image_boxes, (size[0] - last_pixel, size[1] - last_pixel))
            keep = nms_of_best(clipped, scores, labels, self.nms_threshold, self.max_detections)
            given = clipped[keep] * ratio
            given[:, 2:] += last_pixel
            detections.append(Detections(given, scores[keep], labels[keep]))
        return detections

    def _combine(self, classification: Tensor, quality: Tensor | None) -> Tensor:
        if quality is None:
            return classification
        product = classification * quality
        return product.sqrt() if self.score == "sqrt" else product

    def _quality(self, outputs: HeadOutputs, image: Tensor, location: Tensor) -> Float[Tensor, " N"] | None:
        match self.quality:
            case "none":
                return None
            case "branch":
                assert outputs.quality is not None, "the configuration refuses a missing branch"
                return outputs.quality[image, location].float().sigmoid()
            case "from_regression":
                return centerness(outputs.ltrb[image, location])

    def _least_logit(self) -> float:
        """No score from a logit below passes the threshold, whatever the quality, which is 1 at most."""
        rooted = self.threshold_on == "score" and self.score == "sqrt" and self.quality != "none"
        least = self.score_threshold**2 if rooted else self.score_threshold
        # The margin is far beyond what rounding can do to a probability.
        return math.log(least / (1 - least)) - 0.01 if least > 0 else -math.inf

    def _candidates(self, outputs: HeadOutputs) -> _Candidates:
        """Every (location, class) over the threshold; only locations whose best class may pass are looked at twice."""
        image, location = (outputs.logits.amax(-1).float() >= self._least_logit()).nonzero(as_tuple=True)
        classification = outputs.logits[image, location].float().sigmoid()
        quality = self._quality(outputs, image, location)
        scores = self._combine(classification, None if quality is None else quality[:, None])
        held = classification if self.threshold_on == "classification" else scores
        over = held > self.score_threshold
        if not self.multi_label and classification.shape[1]:
            best = classification.argmax(1, keepdim=True)
            over &= torch.zeros_like(over).scatter_(1, best, True)
        row, label = over.nonzero(as_tuple=True)
        return _Candidates(image[row], location[row], label, scores[row, label])

    def _topk(self, candidates: _Candidates, locations: Locations) -> _Candidates:
        """The best k of every image and level, sorted by image and then by score, ties in order of location."""
        ends = torch.tensor([rows * columns for rows, columns in locations.shapes]).cumsum(0)
        level = torch.bucketize(candidates.location, ends.to(candidates.location.device), right=True)
        group = candidates.image * len(locations.shapes) + level
        by_score = candidates.score.argsort(descending=True, stable=True)
        order = by_score[group[by_score].argsort(stable=True)]
        sizes = group.bincount()
        rank = torch.arange(len(order), device=order.device) - (sizes.cumsum(0) - sizes)[group[order]]
        kept = order[rank < self.topk_per_level]
        # Selecting by a rising index keeps the order of locations among equal scores.
        kept = kept.sort().values
        by_score = kept[candidates.score[kept].argsort(descending=True, stable=True)]
        return candidates.select(by_score[candidates.image[by_score].argsort(stable=True)])


def nms_of_best(
    boxes: Float[Tensor, "N 4"],
    scores: Float[Tensor, " N"],
    labels: Int[Tensor, " N"],
    iou_threshold: float,
    limit: int,
) -> Int[Tensor, " K"]:
    """Indices of the first `limit` boxes that class-wise NMS keeps; boxes must come best first.

    NMS is greedy, so what it keeps of the best n is the beginning of what it keeps of all: the prefix grows only
    until enough are kept.
    """
    prefix = 4 * limit
    while True:
        keep: Tensor = batched_nms(boxes[:prefix], scores[:prefix], labels[:prefix], iou_threshold)
        if len(keep) >= limit or prefix >= len(boxes):
            return keep[:limit]
        prefix *= 4
