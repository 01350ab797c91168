"""Head outputs to detections: score, threshold, top-k per level, decode, NMS (v1 section 3.1, v2 section 2.3)."""

import math
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from fcos.config.choices import BoxConvention
from fcos.config.model_parts import PostprocessConfig
from fcos.geometry import boxes_from_ltrb, centerness
from fcos.postprocess.nms import survivors
from fcos.structures import Detections, HeadOutputs, Locations


@dataclass(frozen=True)
class _Candidates:
    """Class scores over the threshold, of all images of a batch; an image's are in order of location, then class."""

    image: Int[Tensor, " N"]
    level: Int[Tensor, " N"]
    location: Int[Tensor, " N"]
    label: Int[Tensor, " N"]
    score: Float[Tensor, " N"]

    def select(self, index: Tensor) -> "_Candidates":
        return _Candidates(*(getattr(self, field.name)[index] for field in fields(self)))


@dataclass(frozen=True)
class Postprocess:
    """Detections of a batch from what the head says, by the rule's settings (their meaning is said there).

    The threshold is held strictly. Of the inclusive box convention boxes end in their last pixel until they are
    given out, as in training. What an oracle knows is put into the outputs before (see oracle.py), the analyses are
    made of the detections after, and views of an image are put together by tta.py.
    """

    rule: PostprocessConfig
    box_convention: BoxConvention = "plain"

    @torch.no_grad()
    def __call__(
        self,
        outputs: HeadOutputs,
        locations: Locations,
        sizes: Int[Tensor, "B 2"],
        original_sizes: Int[Tensor, "B 2"],
    ) -> list[Detections]:
        """Detections of each image, best first, clipped to the image, in pixels of the original image."""
        candidates = self._topk(self._candidates(outputs), len(outputs.logits))
        image, location = candidates.image, candidates.location
        boxes = boxes_from_ltrb(locations.xy[location], outputs.ltrb[image, location])
        last_pixel = 1 if self.box_convention == "inclusive" else 0
        ends = (sizes - last_pixel).flip(1).repeat(1, 2).to(boxes)
        boxes = torch.minimum(boxes.clamp(min=0), ends[image])
        given = boxes * (original_sizes / sizes).flip(1).repeat(1, 2).to(boxes)[image]
        given[:, 2:] += last_pixel
        counts = image.bincount(minlength=len(sizes)).tolist()
        detections = []
        places = location // locations.targets
        tells_locations = self.rule.suppression == "set_nms" or "ambiguous" in self.rule.analyses
        for own, own_given, scores, labels, place in zip(
            *(x.split(counts) for x in (boxes, given, candidates.score, candidates.label, places)), strict=True
        ):
            keep = survivors(self.rule, own, scores, labels, place)
            origin = place[keep] if tells_locations else None
            detections.append(Detections(own_given[keep], scores[keep], labels[keep], origin))
        return detections

    def _combine(self, classification: Tensor, quality: Tensor | None) -> Tensor:
        if quality is None:
            return classification
        product = classification * quality
        return product.sqrt() if self.rule.score == "sqrt" else product

    def _quality(self, outputs: HeadOutputs, image: Tensor, location: Tensor) -> Float[Tensor, " N"] | None:
        match self.rule.quality:
            case "none":
                return None
            case "branch":
                assert outputs.quality is not None, "the configuration refuses a missing branch"
                return outputs.quality[image, location].float().sigmoid()
            case "from_regression":
                return centerness(outputs.ltrb[image, location])

    def _least_logit(self) -> float:
        """No score from a logit below passes the threshold, whatever the quality, which is 1 at most."""
        rooted = self.rule.threshold_on == "score" and self.rule.score == "sqrt" and self.rule.quality != "none"
        least = self.rule.score_threshold**2 if rooted else self.rule.score_threshold
        # The margin is far beyond what rounding can do to a probability.
        return math.log(least / (1 - least)) - 0.01 if least > 0 else -math.inf

    def _candidates(self, outputs: HeadOutputs) -> _Candidates:
        """Every (location, class) over the threshold; only locations whose best class may pass are looked at twice."""
        parts, start = [], 0
        for level, logits in enumerate(outputs.logits):
            known = peaks(logits, outputs.shapes[level]) if self.rule.suppression == "peaks" else logits
            parts.append(self._of_level(known, level, start))
            start += logits.shape[1]
        found = _Candidates(
            *(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(_Candidates))
        )
        quality = self._quality(outputs, found.image, found.location)
        scores = self._combine(found.score, quality)
        held = found.score if self.rule.threshold_on == "classification" else scores
        return replace(found, score=scores).select((held > self.rule.score_threshold).nonzero().squeeze(1))

    def _of_level(self, logits: Float[Tensor, "B N C"], level: int, start: int) -> _Candidates:
        """What may pass in one level, whose first location is `start`; scored by its class alone."""
        least = self._least_logit()
        image, location = (logits.amax(-1).float() >= least).nonzero(as_tuple=True)
        rows = logits[image, location].float()
        if self.rule.multi_label:
            row, label = (rows >= least).nonzero(as_tuple=True)
        else:
            row, label = torch.arange(len(rows), device=rows.device), rows.argmax(1)
        image, location = image[row], location[row] + start
        return _Candidates(image, torch.full_like(image, level), location, label, rows[row, label].sigmoid())

    def _topk(self, candidates: _Candidates, levels: int) -> _Candidates:
        """The best k of every image and level, sorted by image and then by score, ties in order of location."""
        best_first = candidates.score.argsort(descending=True, stable=True)
        image = candidates.image[best_first]
        group = image * levels + candidates.level[best_first]
        by_group = group.argsort(stable=True)
        sizes = group.bincount()
        rank = torch.arange(len(group), device=group.device) - (sizes.cumsum(0) - sizes)[group[by_group]]
        kept = by_group[rank < self.rule.topk_per_level].sort().values
        return candidates.select(best_first[kept[image[kept].argsort(stable=True)]])


def peaks(logits: Float[Tensor, "B N C"], shape: tuple[int, int]) -> Float[Tensor, "B N C"]:
    """The logits that none of their eight neighbours exceeds; the others are minus infinity (CenterNet, 1904.07850).

    Equal neighbours are peaks both. `shape` are the level's rows and columns.
    """
    maps = logits.mT.unflatten(-1, shape)
    highest = F.max_pool2d(maps, kernel_size=3, stride=1, padding=1)
    kept: Tensor = maps.masked_fill(maps < highest, -math.inf).flatten(2).mT
    return kept
