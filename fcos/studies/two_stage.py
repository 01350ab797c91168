"""A second stage on FCOS's proposals: torchvision's Fast R-CNN heads on features of a trained, frozen FCOS.

v1's Table 6 reports the recall of proposals only; this measures the detections that a second stage makes of them.
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
from fcos.config.choices import SPLITS, Split
from fcos.config.model import ModelConfig
from fcos.config.model_parts import PostprocessConfig
from fcos.data.batching import Batching, WorkerShare
from fcos.data.coco import make_dataset
from fcos.data.loader import train_batches
from fcos.device import to_device
from fcos.evaluation.analyses import analyse
from fcos.evaluation.coco import coco_metrics
from fcos.inference import Trained, read_validation
from fcos.model.detector import FCOS
from fcos.postprocess.decode import Postprocess
from fcos.structures import Batch, Detections

# Boxes are pooled from the levels up to this one, as in Faster R-CNN with FPN: P6 and P7 have too few cells for 7 x 7.
MAX_POOLED_LEVEL = 5
POOL_SIZE = 7


@dataclass(frozen=True)
class TwoStage:
    """A frozen detector for proposals, and heads that classify and refine them."""

    detector: FCOS
    heads: RoIHeads
    config: ModelConfig

    @torch.no_grad()
    def propose(self, batch: Batch) -> tuple["OrderedDict[str, Tensor]", list[Tensor]]:
        """Return features by level name, and each image's proposals in pixels of the network's input, best first."""
        features = self.detector.fpn(self.detector.backbone(self.detector.normalize(batch.pixels, batch.sizes)))
        outputs = self.detector.head(list(features.values()))
        # With sizes as original sizes, so that proposals stay in the frame of the features.
        detections = Postprocess(proposal_config(self.config.postprocess), self.config.assignment.corners)(
            outputs, build_locate(self.config)(batch), batch.sizes, batch.sizes
        )
        names = [f"p{level}" for level in self.config.levels]
        pooled = OrderedDict(
            (name, value)
            for name, level, value in zip(names, self.config.levels, features.values(), strict=True)
            if level <= MAX_POOLED_LEVEL
        )
        return pooled, [item.boxes for item in detections]


def proposal_config(config: PostprocessConfig) -> PostprocessConfig:
    """Return the post-processing for proposals: a location's best class, class-agnostic NMS, 1000 per image."""
    changes = {
        "multi_label": False, "nms_over": "all", "nms_threshold": 0.7, "score_threshold": 0.0, "max_detections": 1000,
        "suppression": "nms", "tta_scales": (1.0,), "tta_flip": False,
        "oracle": "none", "oracle_background": "predicted", "analyses": (),
    }  # fmt: skip
    return config.model_copy(update=changes)


def build_second_stage(config: ModelConfig, num_classes: int, *, hidden: int) -> RoIHeads:
    """Build Faster R-CNN's heads with torchvision's settings, for the levels up to P5."""
    names = [f"p{level}" for level in config.levels if level <= MAX_POOLED_LEVEL]
    channels = config.fpn.channels
    return RoIHeads(
        MultiScaleRoIAlign(featmap_names=names, output_size=POOL_SIZE, sampling_ratio=2),
        TwoMLPHead(channels * POOL_SIZE**2, hidden),
        # torchvision's class 0 is the background.
        FastRCNNPredictor(hidden, num_classes + 1),
        fg_iou_thresh=0.5, bg_iou_thresh=0.5, batch_size_per_image=512, positive_fraction=0.25, bbox_reg_weights=None,
        score_thresh=0.05, nms_thresh=0.5, detections_per_img=100,
    )  # fmt: skip


def train_second_stage(
    two_stage: TwoStage,
    batches: Iterable[list[Batch]],
    *,
    steps: int,
    lr: float,
    device: torch.device,
    progress: Callable[[int, int, float], None],
) -> None:
    """Train the heads only, for `steps` batches, with a cosine schedule.

    `progress` is called with step and loss.
    """
    two_stage.detector.eval()
    two_stage.heads.train()
    optimizer = torch.optim.AdamW(two_stage.heads.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step, (host_batch,) in zip(range(1, steps + 1), batches, strict=False):
        batch = to_device(host_batch, device)
        features, proposals = two_stage.propose(batch)
        _, losses = two_stage.heads(features, proposals, _shapes(batch), _targets(batch))
        loss = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(two_stage.heads.parameters(), 10.0)
        optimizer.step()
        scheduler.step()
        if step % 20 == 0 or step == steps:
            progress(step, steps, float(loss.detach()))


@torch.no_grad()
def detect_in_two_stages(
    two_stage: TwoStage, batches: Iterable[Batch], *, device: torch.device, progress: Callable[[int], None]
) -> tuple[dict[int, Detections], dict[int, Detections]]:
    """Return detections and proposals of each image by its id, in pixels of the original image, on the CPU."""
    two_stage.detector.eval()
    two_stage.heads.eval()
    detections: dict[int, Detections] = {}
    proposals_by_image: dict[int, Detections] = {}
    for host_batch in batches:
        batch = to_device(host_batch, device)
        features, proposals = two_stage.propose(batch)
        results, _ = two_stage.heads(features, proposals, _shapes(batch), None)
        scale = (batch.original_sizes / batch.sizes).flip(1).repeat(1, 2).float()
        for image_id, ratio, result, boxes in zip(batch.image_ids, scale, results, proposals, strict=True):
            detections[image_id] = _detections(result, ratio)
            # Proposals are sorted by score; their ranks serve as scores.
            ranks = torch.linspace(1, 0, len(boxes) + 1)[:-1]
            proposals_by_image[image_id] = Detections(
                (boxes * ratio).cpu(), ranks, torch.zeros(len(boxes), dtype=torch.long)
            )
        progress(len(detections))
    return detections, proposals_by_image


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
    on_step: Callable[[int, int, float], None],
    on_image: Callable[[int, int], None],
) -> dict[str, float]:
    """Train a second stage on a trained detector's proposals.

    Returns its COCO metrics, and val/proposals of the first stage. Raises CheckpointError where the classes of the data
    are not the checkpoint's.
    """
    config, device = trained.config, trained.device
    masks: tuple[Split, ...] = ("train",) if config.data.augmentation.copy_paste else ()
    data, val_batches = read_validation(trained, batch_size=batch_size, masks=masks, splits=SPLITS)
    seeds = config.resolved_seeds
    torch.manual_seed(seeds.weights)
    trained.detector.requires_grad_(False)
    heads = build_second_stage(config.model, len(trained.classes), hidden=hidden).to(device)
    two_stage = TwoStage(trained.detector, heads, config.model)
    divisor, by_aspect = config.model.size_divisor, config.data.group_by_aspect
    batches = train_batches(
        make_dataset(data, "train", config.data, training=True, seed=seeds.augmentation, masks=False),
        Batching(batch_size, divisor, group_by_aspect=by_aspect),
        WorkerShare(),
        seed=seeds.order,
        start_step=0,
        num_workers=config.data.num_workers,
        pin_memory=device.type == "cuda",
    )
    train_second_stage(two_stage, batches, steps=steps, lr=lr, device=device, progress=on_step)
    annotations = data.val.annotations
    detections, proposals_by_image = detect_in_two_stages(
        two_stage, val_batches, device=device, progress=lambda done: on_image(done, len(annotations))
    )
    return coco_metrics(annotations, detections) | analyse(annotations, proposals_by_image, ["proposals"])
