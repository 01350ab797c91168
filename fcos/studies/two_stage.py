"""A second stage on FCOS's proposals: torchvision's Fast R-CNN heads on the features of a trained, frozen FCOS.

v1's Table 6 stops at the recall of proposals; this says what a detector makes of them.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import MultiScaleRoIAlign

from fcos.assignment.build import build_locate
from fcos.config.model import ModelConfig
from fcos.config.model_parts import PostprocessConfig
from fcos.data.loader import train_batches
from fcos.data.prepare import SPLITS, make_dataset
from fcos.device import to_device
from fcos.evaluation.analyses import analyse
from fcos.evaluation.coco import evaluate
from fcos.inference import Trained, read_validation
from fcos.model.detector import FCOS
from fcos.postprocess.decode import Postprocess
from fcos.structures import Batch, Detections

# Levels that boxes are pooled from: P6 and P7 have too few cells for 7 x 7, as in Faster R-CNN with FPN.
DEEPEST = 5
POOLED = 7


@dataclass(frozen=True)
class TwoStage:
    """A frozen detector that proposes, and heads that classify its proposals and move their edges."""

    first: FCOS
    second: RoIHeads
    config: ModelConfig

    @torch.no_grad()
    def propose(self, batch: Batch) -> tuple["OrderedDict[str, Tensor]", list[Tensor]]:
        """Features by level name, and the proposals of each image in pixels of the network's input, best first."""
        features = self.first.fpn(self.first.backbone(self.first.normalize(batch.pixels, batch.sizes)))
        outputs = self.first.head(list(features.values()))
        # As if images had not been resized: proposals stay in the frame of the features.
        found = Postprocess(proposing(self.config.postprocess), self.config.assignment.corners)(
            outputs, build_locate(self.config)(batch), batch.sizes, batch.sizes
        )
        names = [f"p{level}" for level in self.config.levels]
        pooled = OrderedDict(
            (name, value)
            for name, level, value in zip(names, self.config.levels, features.values(), strict=True)
            if level <= DEEPEST
        )
        return pooled, [item.boxes for item in found]


def proposing(config: PostprocessConfig) -> PostprocessConfig:
    """The post-processing that gives proposals: a location's best class, NMS over all classes, 1000 an image."""
    changes = {
        "multi_label": False, "nms_over": "all", "nms_threshold": 0.7, "score_threshold": 0.0, "max_detections": 1000,
        "suppression": "nms", "tta_scales": (1.0,), "tta_flip": False,
        "oracle": "none", "oracle_background": "predicted", "analyses": (),
    }  # fmt: skip
    return config.model_copy(update=changes)


def second_stage(config: ModelConfig, num_classes: int, *, hidden: int) -> RoIHeads:
    """Faster R-CNN's heads with its own settings (torchvision), for the levels up to P5."""
    names = [f"p{level}" for level in config.levels if level <= DEEPEST]
    channels = config.fpn.channels
    return RoIHeads(
        MultiScaleRoIAlign(featmap_names=names, output_size=POOLED, sampling_ratio=2),
        TwoMLPHead(channels * POOLED**2, hidden),
        # torchvision's class 0 is the background.
        FastRCNNPredictor(hidden, num_classes + 1),
        fg_iou_thresh=0.5, bg_iou_thresh=0.5, batch_size_per_image=512, positive_fraction=0.25, bbox_reg_weights=None,
        score_thresh=0.05, nms_thresh=0.5, detections_per_img=100,
    )  # fmt: skip


def train_second_stage(
    detector: TwoStage,
    batches: Iterable[list[Batch]],
    *,
    steps: int,
    lr: float,
    device: torch.device,
    progress: Callable[[int, int, float], None],
) -> None:
    """Train the heads alone for `steps` batches, the rate falling as a cosine; `progress` is told step and loss."""
    detector.first.eval()
    detector.second.train()
    optimizer = torch.optim.AdamW(detector.second.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step, (host,) in zip(range(1, steps + 1), batches, strict=False):
        batch = to_device(host, device)
        features, proposals = detector.propose(batch)
        _, losses = detector.second(features, proposals, _shapes(batch), _targets(batch))
        loss = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(detector.second.parameters(), 10.0)
        optimizer.step()
        scheduler.step()
        if step % 20 == 0 or step == steps:
            progress(step, steps, float(loss.detach()))


@torch.no_grad()
def detect_in_two_stages(
    detector: TwoStage, batches: Iterable[Batch], *, device: torch.device, progress: Callable[[int], None]
) -> tuple[dict[int, Detections], dict[int, Detections]]:
    """Detections and proposals of each image by its id, in pixels of the original image, on the CPU."""
    detector.first.eval()
    detector.second.eval()
    found: dict[int, Detections] = {}
    proposed: dict[int, Detections] = {}
    for host in batches:
        batch = to_device(host, device)
        features, proposals = detector.propose(batch)
        results, _ = detector.second(features, proposals, _shapes(batch), None)
        scale = (batch.original_sizes / batch.sizes).flip(1).repeat(1, 2).float()
        for image_id, ratio, result, boxes in zip(batch.image_ids, scale, results, proposals, strict=True):
            found[image_id] = _detections(result, ratio)
            # Best first; the rank stands for the score.
            ranks = torch.linspace(1, 0, len(boxes) + 1)[:-1]
            proposed[image_id] = Detections((boxes * ratio).cpu(), ranks, torch.zeros(len(boxes), dtype=torch.long))
        progress(len(found))
    return found, proposed


def _detections(result: Mapping[str, Tensor], ratio: Tensor) -> Detections:
    order = result["scores"].argsort(descending=True, stable=True)
    boxes, scores, labels = (result[name][order].cpu() for name in ("boxes", "scores", "labels"))
    return Detections(boxes * ratio.cpu(), scores, labels - 1)


def _shapes(batch: Batch) -> list[tuple[int, int]]:
    return [(int(height), int(width)) for height, width in batch.sizes.tolist()]


def _targets(batch: Batch) -> list[dict[str, Tensor]]:
    targets = batch.targets
    return [
        {"boxes": boxes[valid], "labels": labels[valid] + 1}
        for boxes, labels, valid in zip(targets.boxes, targets.labels, targets.valid, strict=True)
    ]


def run_two_stage(
    trained: Trained,
    *,
    steps: int,
    batch_size: int,
    lr: float,
    hidden: int,
    training: Callable[[int, int, float], None],
    evaluating: Callable[[int, int], None],
) -> dict[str, float]:
    """Train a second stage on a trained detector's proposals; its COCO metrics, and val/proposals of the first.

    Raises CheckpointError where the classes of the data are not the checkpoint's.
    """
    config, device = trained.config, trained.device
    data, val_batches = read_validation(trained, batch_size=batch_size, splits=SPLITS)
    torch.manual_seed(config.seed)
    trained.detector.requires_grad_(False)
    heads = second_stage(config.model, len(trained.classes), hidden=hidden).to(device)
    detector = TwoStage(trained.detector, heads, config.model)
    batches = train_batches(
        make_dataset(data, "train", config.data, training=True, seed=config.seed),
        batch_size=batch_size, accumulate=1, rank=0, world_size=1, seed=config.seed, start_step=0,
        size_divisor=config.model.size_divisor, num_workers=config.data.num_workers,
        group_by_aspect=config.data.group_by_aspect, pin_memory=device.type == "cuda",
    )  # fmt: skip
    train_second_stage(detector, batches, steps=steps, lr=lr, device=device, progress=training)
    annotations = data.val.annotations
    found, proposed = detect_in_two_stages(
        detector, val_batches, device=device, progress=lambda done: evaluating(done, len(annotations))
    )
    return evaluate(annotations, found) | analyse(annotations, proposed, ["proposals"])
