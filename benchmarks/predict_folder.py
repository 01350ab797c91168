"""A folder of pictures to a json file against a plain loop over torchvision: python benchmarks/predict_folder.py

JPEG files of 640x480, at their own size. The peer opens each with Pillow, hands it to torchvision's detector and writes
COCO's results; ours is what `python -m fcos predict RUN folder --output found --no-pictures` calls. Both have the same
weights, float32, and the processors that the process has. Detections must be equal: labels and number exactly, scores
to 1e-4 and boxes to 1e-2 pixels, but for those at the edge of a threshold.

r50 is model=torchvision. lite is model=fcos_lite with torchvision's rules: its backbone and pyramid, by the same modules,
in torchvision's detector, with torch's own batch norms.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
import yaml
from data_pipeline import draw_jpegs
from detectors import CLASSES, MODEL, build_pair, model_config
from PIL import Image
from side_by_side import require
from torch import Tensor, nn
from torchvision.models.detection import FCOS as PeerFCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead
from torchvision.transforms import functional

from fcos.build import build_detector
from fcos.config.model import ModelConfig
from fcos.config.parse import parse
from fcos.config.run import Config
from fcos.inference import Trained
from fcos.model.detector import FCOS
from fcos.model.norm import FrozenBatchNorm2d
from fcos.prediction.predictor import Predictor
from fcos.prediction.run import PredictionProgress, Request, run_prediction
from fcos.prediction.sources import find_sources

SIZE: Final = (480, 640)
# Files of equal content from there on; each is read and decoded by itself.
DRAWN: Final = 40
# Of the schedule nothing but precision and order in memory matters to a prediction.
SCHEDULE: Final = {"batch_size": 8, "steps": 1, "optimizer": "sgd", "decay": "none", "channels_last": True}
FOUND: Final = "detections.json"
# Of a folder's detections, those that may be missing on the other side: NMS and threshold decide by the last bit.
EDGE_SHARE: Final = 1e-3


def build_r50() -> tuple[PeerFCOS, FCOS, ModelConfig]:
    """Return torchvision's R50 detector and ours."""
    peer, ours = build_pair(SIZE, channels_last=True, device=torch.device("cpu"))
    return peer, ours, model_config()


class _Features(nn.Module):
    """Our backbone and pyramid with torch's own batch norms, as torchvision's detector takes a backbone."""

    def __init__(self, detector: FCOS, out_channels: int) -> None:
        super().__init__()
        self.body, self.fpn = deepcopy((detector.backbone, detector.fpn))
        for parent in list(self.body.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, FrozenBatchNorm2d):
                    setattr(parent, name, _plain_norm(child))
        self.to(memory_format=torch.contiguous_format)
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features: dict[str, Tensor] = self.fpn(self.body(x))
        return features


def _plain_norm(norm: FrozenBatchNorm2d) -> nn.Module:
    plain = nn.BatchNorm2d(norm.weight.numel(), eps=norm.eps)
    plain.load_state_dict(norm.state_dict(), strict=False)
    return nn.Sequential(plain, *norm.children())


def build_lite() -> tuple[PeerFCOS, FCOS, ModelConfig]:
    """Return both with the backbone of model=fcos_lite, with its pretrained weights."""
    values = yaml.safe_load((MODEL.parent / "fcos_lite.yaml").read_text())
    rules = yaml.safe_load(MODEL.read_text())
    del values["defaults"]
    for section in ("head", "assignment", "postprocess"):
        values[section] = {**rules[section], **({"num_convs": 2} if section == "head" else {})}
    values["assignment"]["ranges"] = [[0, 64], [64, 128], [128, 256], [256, None]]
    config = parse(ModelConfig, values)
    torch.manual_seed(0)
    ours = build_detector(config, CLASSES, channels_last=True)
    channels = config.fpn.channels
    peer = PeerFCOS(
        _Features(ours, channels), CLASSES, min_size=min(SIZE), max_size=max(SIZE),
        image_mean=list(config.pixel_mean), image_std=list(config.pixel_std),
        anchor_generator=AnchorGenerator(tuple((stride,) for stride in config.strides), ((1.0,),) * len(config.strides)),
        head=FCOSHead(channels, 1, CLASSES, config.head.num_convs),
    )  # fmt: skip
    head = peer.head
    pairs = [
        (head.classification_head.conv, ours.head.classification_tower),
        (head.regression_head.conv, ours.head.regression_tower),
    ]
    for theirs, tower in pairs:
        for index, (conv, norm) in enumerate(zip(tower.convs, tower.norms[0], strict=True)):
            theirs[3 * index].load_state_dict(conv.state_dict())
            theirs[3 * index + 1].load_state_dict(norm.state_dict())
    head.classification_head.cls_logits.load_state_dict(ours.head.classification.state_dict())
    head.regression_head.bbox_reg.load_state_dict(ours.head.regression.state_dict())
    head.regression_head.bbox_ctrness.load_state_dict(ours.head.quality.state_dict())
    return peer, ours, config


MODELS: Final[dict[str, Callable[[], tuple[PeerFCOS, FCOS, ModelConfig]]]] = {"r50": build_r50, "lite": build_lite}


def build(name: str) -> tuple[PeerFCOS, Predictor]:
    """Return torchvision's detector and ours with weights by which some detections pass the threshold."""
    peer, detector, model = MODELS[name]()
    pairs: list[tuple[Any, Any]] = [
        (peer.head.classification_head.cls_logits, peer.head.regression_head.bbox_reg),
        (detector.head.classification, detector.head.regression),
    ]
    with torch.no_grad():
        for logits, distances in pairs:
            logits.bias.fill_(-3.5), distances.bias.fill_(2.0)
            logits.weight.mul_(10), distances.weight.mul_(10)
    config = parse(Config, {"model": model.model_dump(), "data": {"name": "synthetic", "synthetic": {}}, "schedule": SCHEDULE})
    classes = tuple(f"class {number}" for number in range(1, CLASSES + 1))
    trained = Trained(detector.eval(), config, classes, 0, torch.device("cpu"))
    return peer.eval(), Predictor(trained)


def run_peer(peer: PeerFCOS, folder: Path, output: Path) -> None:
    """Detect on the files of a folder one after the other, and write COCO's results."""
    results = []
    with torch.no_grad():
        for number, path in enumerate(sorted(folder.iterdir()), start=1):
            with Image.open(path) as file:
                image = functional.to_tensor(file.convert("RGB"))
            [found] = peer([image])
            columns = (found["boxes"].tolist(), found["scores"].tolist(), found["labels"].tolist())
            for (x1, y1, x2, y2), score, label in zip(*columns, strict=True):
                box = [round(side, 3) for side in (x1, y1, x2 - x1, y2 - y1)]
                one = {"image_id": number, "category_id": label + 1, "bbox": box, "score": round(score, 7)}
                results.append(one)
    output.mkdir(exist_ok=True)
    (output / FOUND).write_text(json.dumps(results))


def run_ours(predictor: Predictor, classes: int, folder: Path, output: Path) -> None:
    """Do what the command does."""
    names = tuple(str(number) for number in range(classes))
    progress = PredictionProgress(lambda *_: None, sys.exit)
    run_prediction(predictor, find_sources([str(folder)]), Request(output, names, pictures=False), progress)
