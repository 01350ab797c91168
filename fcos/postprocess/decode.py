"""From head outputs to detections: score, threshold, top-k per level, decoding, NMS (v1 sec. 3.1, v2 sec. 2.3)."""

import math
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fcos.config.choices import BoxConvention
from fcos.config.model_parts import PostprocessConfig
from fcos.geometry import boxes_from_ltrb, centerness
from fcos.postprocess.nms import apply_nms
from fcos.postprocess.passing import best_of_locations, find_passing
from fcos.structures import Detections, HeadOutputs, Locations


@dataclass(frozen=True)
class _Candidates:
    """Class scores above the threshold of all images of a batch.

    An image's are in order of location, then class.
    """

    image: Int[Tensor, " N"]
    level: Int[Tensor, " N"]
    location: Int[Tensor, " N"]
    label: Int[Tensor, " N"]
    score: Float[Tensor, " N"]

    def select(self, index: Tensor) -> "_Candidates":
        return _Candidates(*(getattr(self, field.name)[index] for field in fields(self)))


@dataclass(frozen=True)
class Postprocess:
    """Post-processing of head outputs by a configuration, whose fields are described in `PostprocessConfig`.

    Scores must be strictly above the threshold. With box_convention=inclusive, boxes end in their last pixel, as in
    training, until they are returned. Oracles change the outputs before (oracle.py), analyses use the detections
    afterwards, and tta.py merges the detections of several augmentations.
    """

    config: PostprocessConfig
    box_convention: BoxConvention = "plain"

    @torch.no_grad()
    def __call__(
        self,
        outputs: HeadOutputs,
        locations: Locations,
        sizes: Int[Tensor, "B 2"],
        original_sizes: Int[Tensor, "B 2"],
    ) -> list[Detections]:
        """Return the detections of each image, best first, clipped to the image, in pixels of the original image."""
        candidates = self._candidates(outputs)
        compared, in_original = self._boxes(
            boxes_from_ltrb(locations.xy[candidates.location], outputs.ltrb[candidates.image, candidates.location]),
            candidates.image,
            sizes,
            original_sizes,
        )
        if self.config.drop_empty == "before_nms":
            rows = _has_area(in_original).nonzero().squeeze(1)
            candidates, compared, in_original = candidates.select(rows), compared[rows], in_original[rows]
        counts = candidates.image.bincount(minlength=len(sizes)).tolist()
        detections = []
        location_index = candidates.location // locations.targets
        keeps_locations = self.config.suppression == "set_nms" or "ambiguous" in self.config.analyses
        for image_boxes, original_boxes, scores, labels, location_part in zip(
            *(x.split(counts) for x in (compared, in_original, candidates.score, candidates.label, location_index)),
            strict=True,
        ):
            keep = apply_nms(self.config, image_boxes, scores, labels, location_part)
            if self.config.drop_empty == "after_nms":
                keep = keep[_has_area(original_boxes[keep])]
            detection_locations = location_part[keep] if keeps_locations else None
            detections.append(Detections(original_boxes[keep], scores[keep], labels[keep], detection_locations))
        return detections

    def _boxes(
        self, decoded: Float[Tensor, "N 4"], image: Int[Tensor, " N"], sizes: Tensor, original_sizes: Tensor
    ) -> tuple[Float[Tensor, "N 4"], Float[Tensor, "N 4"]]:
        """Return boxes as NMS compares them, and clipped in pixels of the original image."""
        last_pixel = 1 if self.box_convention == "inclusive" else 0
        ends = (sizes - last_pixel).flip(1).repeat(1, 2).to(decoded)[image]
        clipped = torch.minimum(decoded.clamp(min=0), ends)
        in_original = clipped * (original_sizes / sizes).flip(1).repeat(1, 2).to(decoded)[image]
        in_original[:, 2:] += last_pixel
        return clipped if self.config.clip == "before_nms" else decoded, in_original

    def _score(self, classification: Tensor, quality: Tensor | None) -> Tensor:
        """Combine class probability and quality into the score."""
        if quality is None:
            return classification
        product = classification * quality
        return product.sqrt() if self.config.score == "sqrt" else product

    def _quality(self, outputs: HeadOutputs, image: Tensor, location: Tensor) -> Float[Tensor, " N"] | None:
        match self.config.quality:
            case "none":
                return None
            case "branch":
                assert outputs.quality is not None, "the configuration refuses a missing branch"
                return outputs.quality[image, location].float().sigmoid()
            case "from_regression":
                return centerness(outputs.ltrb[image, location])

    def _min_logit(self) -> float:
        """Return a logit below which no score passes the threshold, whatever the quality, which is at most 1."""
        config = self.config
        is_square_root = config.threshold_on == "score" and config.score == "sqrt" and config.quality != "none"
        min_probability = config.score_threshold**2 if is_square_root else config.score_threshold
        # The margin of 0.01 is far above any rounding error of a probability.
        return math.log(min_probability / (1 - min_probability)) - 0.01 if min_probability > 0 else -math.inf

    def _candidates(self, outputs: HeadOutputs) -> _Candidates:
        """Return the best (location, class) above the threshold, sorted by image and then by score.

        Equal scores are in order of location.
        """
        parts, start = [], 0
        for level, logits in enumerate(outputs.logits):
            level_logits = peaks(logits, outputs.shapes[level]) if self.config.suppression == "peaks" else logits
            parts.append(self._level_candidates(level_logits, level, start))
            start += logits.shape[1]
        candidates = _Candidates(
            *(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(_Candidates))
        )
        classes = outputs.logits[0].shape[2]
        order_key = (candidates.image * start + candidates.location) * classes + candidates.label
        candidates = candidates.select(order_key.argsort())
        quality = self._quality(outputs, candidates.image, candidates.location)
        classification, scores = candidates.score, self._score(candidates.score, quality)
        thresholded = classification if self.config.threshold_on == "classification" else scores
        passing = (thresholded > self.config.score_threshold).nonzero().squeeze(1)
        candidates = replace(candidates, score=scores).select(passing)
        if self.config.topk_by == "score":
            return candidates.select(self._topk(candidates, candidates.score, len(parts)))
        candidates = candidates.select(self._topk(candidates, classification[passing], len(parts)))
        best_first = candidates.score.argsort(descending=True, stable=True)
        return candidates.select(best_first[candidates.image[best_first].argsort(stable=True)])

    def _level_candidates(self, logits: Float[Tensor, "B N C"], level: int, start: int) -> _Candidates:
        """Return what may pass on one level, whose first location has index `start`, scored by the class alone."""
        passing = find_passing(logits, self._min_logit())
        if not self.config.multi_label:
            passing = best_of_locations(passing, logits.shape[1])
        level_index = torch.full_like(passing.image, level)
        return _Candidates(passing.image, level_index, passing.location + start, passing.label, passing.logit.sigmoid())

    def _topk(self, candidates: _Candidates, values: Float[Tensor, " N"], levels: int) -> Int[Tensor, " K"]:
        """Return the indices of the candidates of the k largest values of every image and level.

        Sorted by image and then by value, equal ones in order of location.
        """
        best_first = values.argsort(descending=True, stable=True)
        image = candidates.image[best_first]
        group = image * levels + candidates.level[best_first]
        by_group = group.argsort(stable=True)
        sizes = group.bincount()
        rank = torch.arange(len(group), device=group.device) - (sizes.cumsum(0) - sizes)[group[by_group]]
        selected = by_group[rank < self.config.topk_per_level].sort().values
        return best_first[selected[image[selected].argsort(stable=True)]]


def _has_area(boxes: Float[Tensor, "N 4"]) -> Bool[Tensor, " N"]:
    return (boxes[:, 2:] > boxes[:, :2]).all(1)


def peaks(logits: Float[Tensor, "B N C"], shape: tuple[int, int]) -> Float[Tensor, "B N C"]:
    """Set logits that one of their eight neighbours exceeds to minus infinity (CenterNet, arXiv 1904.07850).

    Equal neighbours are both kept. `shape` is (rows, columns) of the level.
    """
    maps = logits.mT.unflatten(-1, shape)
    highest = F.max_pool2d(maps, kernel_size=3, stride=1, padding=1)
    result: Tensor = maps.masked_fill(maps < highest, -math.inf).flatten(2).mT
    return result
