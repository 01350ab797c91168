"""Post-processing of fixed shapes, as part of an exported graph: the same detections as fcos.postprocess.decode."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcos.config.choices import BoxConvention
from fcos.config.model_parts import PostprocessConfig
from fcos.errors import ConfigError
from fcos.exported.graph.nms_operator import NO_CANDIDATE, kept_by_nms
from fcos.geometry import boxes_from_ltrb, centerness
from fcos.postprocess.decode import peaks
from fcos.structures import NO_OBJECT, HeadOutputs


def check_exportable(config: PostprocessConfig) -> None:
    """Raise ConfigError for post-processing that no graph of one forward pass can hold."""
    key = "model.postprocess"
    run_folder = "give the default, or evaluate the run's folder"
    outside = "export with --raw, whose head outputs are post-processed outside of the file"
    if config.oracle != "none":
        raise ConfigError(f"{key}.oracle={config.oracle}: needs annotated boxes, which no file gets; {run_folder}")
    if config.tta_scales != (1.0,):
        raise ConfigError(
            f"{key}.tta_scales={list(config.tta_scales)}: scaled canvases are no multiples of model.size_divisor, "
            f"which a file needs; {run_folder}"
        )
    if config.tta_flip:
        raise ConfigError(f"{key}.tta_flip=true: takes several forward passes; {outside}")
    if config.suppression == "set_nms":
        raise ConfigError(
            f"{key}.suppression=set_nms: ONNX has no operator that spares boxes of one location; {outside}, or give nms"
        )


@dataclass(frozen=True)
class _Candidates:
    """The best of every level and image: B x K each, where `rank` below 0 is no candidate."""

    location: Tensor
    label: Tensor
    score: Tensor
    # What the best are chosen by.
    rank: Tensor


class DensePostprocess(nn.Module):
    """`Postprocess` without shapes that depend on scores: every level and image has topk_per_level candidates.

    What does not pass the threshold, and what NMS drops, stays in its slot with a score of NO_CANDIDATE.
    Equal scores of several levels are in order of the levels, also with topk_by=classification, where `Postprocess`
    orders them by the probability of the class.
    """

    def __init__(self, config: PostprocessConfig, box_convention: BoxConvention) -> None:
        super().__init__()
        check_exportable(config)
        self.config = config
        self.last_pixel = 1 if box_convention == "inclusive" else 0

    def forward(
        self, outputs: HeadOutputs, xy: Tensor, sizes: Tensor, original_sizes: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return boxes (B x D x 4), scores, labels (B x D) and the number of detections (B) of each image.

        D is max_detections, or topk_per_level x levels where that is less; best first, then boxes and scores of 0 with
        the label NO_OBJECT. Boxes are clipped, in pixels of the original image. Shapes: xy P x 2, sizes and
        original_sizes B x 2 (height, width).
        """
        candidates = self._candidates(outputs)
        location = candidates.location
        ltrb = outputs.ltrb.gather(1, location.unsqueeze(-1).expand(-1, -1, 4))
        compared, in_original = self._boxes(boxes_from_ltrb(xy[location], ltrb), sizes, original_sizes)
        scores = candidates.score
        if self.config.drop_empty == "before_nms":
            scores = _where_candidate(_has_area(in_original), scores)
        best, order = self._suppress(compared, scores, candidates.label, outputs.logits[0].shape[-1])
        boxes = in_original.gather(1, order.unsqueeze(-1).expand(-1, -1, 4))
        labels = candidates.label.gather(1, order)
        if self.config.drop_empty == "after_nms":
            # Once more, which moves those without area behind the others.
            best, order = _where_candidate(_has_area(boxes), best).topk(best.shape[1], dim=1)
            boxes = boxes.gather(1, order.unsqueeze(-1).expand(-1, -1, 4))
            labels = labels.gather(1, order)
        found = best >= 0
        return (
            torch.where(found.unsqueeze(-1), boxes, torch.zeros_like(boxes)),
            torch.where(found, best, torch.zeros_like(best)),
            torch.where(found, labels, torch.full_like(labels, NO_OBJECT)),
            found.sum(1),
        )

    def _candidates(self, outputs: HeadOutputs) -> _Candidates:
        """Return the best of all levels, sorted within a level by rank, equal ones by location and class."""
        quality = self._quality(outputs)
        parts, start = [], 0
        for logits, shape in zip(outputs.logits, outputs.shapes, strict=True):
            count = logits.shape[1]
            level_quality = None if quality is None else quality[:, start : start + count, None]
            level_logits = peaks(logits, shape) if self.config.suppression == "peaks" else logits
            parts.append(self._level_candidates(level_logits.float(), level_quality, start))
            start = start + count
        return _Candidates(
            *(
                torch.cat([getattr(part, name) for part in parts], dim=1)
                for name in ("location", "label", "score", "rank")
            )
        )

    def _level_candidates(self, logits: Tensor, quality: Tensor | None, start: int) -> _Candidates:
        """Return the candidates of one level, whose first location has index `start`; logits are B x N x C."""
        labels = None
        if not self.config.multi_label:
            logits, labels = logits.max(-1, keepdim=True)
        classification = logits.sigmoid()
        scores = classification if quality is None else self._score(classification, quality)
        thresholded = classification if self.config.threshold_on == "classification" else scores
        by = scores if self.config.topk_by == "score" else classification
        rank = _where_candidate(thresholded > self.config.score_threshold, by).flatten(1)
        # A constant number of candidates, however small the level is.
        padding = (0, self.config.topk_per_level)
        rank, index = F.pad(rank, padding, value=NO_CANDIDATE).topk(self.config.topk_per_level, dim=1)
        index = torch.where(rank >= 0, index, torch.zeros_like(index))
        scores = _where_candidate(rank >= 0, scores.flatten(1).gather(1, index))
        num_classes = logits.shape[-1]
        location = torch.div(index, num_classes, rounding_mode="floor")
        label = index % num_classes if labels is None else labels.flatten(1).gather(1, index)
        return _Candidates(location + start, label, scores, rank)

    def _quality(self, outputs: HeadOutputs) -> Tensor | None:
        match self.config.quality:
            case "none":
                return None
            case "branch":
                assert outputs.quality is not None, "the configuration refuses a missing branch"
                return outputs.quality.float().sigmoid()
            case "from_regression":
                return centerness(outputs.ltrb)

    def _score(self, classification: Tensor, quality: Tensor) -> Tensor:
        product = classification * quality
        return product.sqrt() if self.config.score == "sqrt" else product

    def _boxes(self, decoded: Tensor, sizes: Tensor, original_sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes as NMS compares them, and clipped in pixels of the original image; B x K x 4."""
        ends = (sizes - self.last_pixel).flip(1).repeat(1, 2).to(decoded.dtype).unsqueeze(1)
        clipped = torch.minimum(decoded.clamp(min=0), ends)
        scales = (original_sizes / sizes).flip(1).repeat(1, 2).to(decoded.dtype).unsqueeze(1)
        last_pixel = torch.tensor([0.0, 0.0, self.last_pixel, self.last_pixel], device=decoded.device)
        in_original = clipped * scales + last_pixel
        return clipped if self.config.clip == "before_nms" else decoded, in_original

    def _suppress(self, boxes: Tensor, scores: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
        """Return scores and slots of the best that suppression keeps, B x D, best first."""
        config = self.config
        if config.suppression == "nms":
            if config.nms_corners == "inclusive":
                boxes = boxes + torch.tensor([0.0, 0.0, 1.0, 1.0], device=boxes.device)
            per_class = config.nms_over == "class"
            kept = kept_by_nms(
                boxes,
                scores,
                labels if per_class else torch.zeros_like(labels),
                num_classes if per_class else 1,
                config.nms_threshold,
                config.max_detections,
            )
            scores = _where_candidate(kept, scores)
        limit = min(config.max_detections, scores.shape[1])
        best, order = scores.topk(limit, dim=1)
        return best, order


def _where_candidate(keep: Tensor, scores: Tensor) -> Tensor:
    return torch.where(keep, scores, torch.full_like(scores, NO_CANDIDATE))


def _has_area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] > boxes[..., :2]).all(-1)
