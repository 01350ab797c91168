"""torchvision's fcos_resnet50_fpn and ours (conf/model/torchvision.yaml) with the same random weights."""

from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from torchvision.models import detection
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from fcos.build import build_detector
from fcos.config.model import ModelConfig
from fcos.config.parse import parse
from fcos.model.detector import FCOS
from fcos.structures import Batch, Targets
from fcos.weights.torchvision import from_torchvision

MODEL = Path(__file__).parents[1] / "conf" / "model" / "torchvision.yaml"
CLASSES = 80


def model_config() -> ModelConfig:
    """Return model=torchvision without pretrained weights."""
    values = yaml.safe_load(MODEL.read_text())
    values["backbone"]["weights"] = None
    return parse(ModelConfig, values)


def build_pair(size: tuple[int, int], *, channels_last: bool, device: torch.device) -> tuple[detection.FCOS, FCOS]:
    """Build both with the stem and first stage frozen, as torchvision trains from ImageNet's weights."""
    torch.manual_seed(0)
    # What fcos_resnet50_fpn builds; built without weights, it would not freeze its batch norms.
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d, returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256, 256), trainable_layers=3,
    )  # fmt: skip
    peer = detection.FCOS(backbone, CLASSES, min_size=min(size), max_size=max(size))
    with torch.no_grad():
        for name, buffer in peer.named_buffers():
            # Norms that were never trained let activations grow from block to block.
            if name.endswith("bn3.weight"):
                buffer.fill_(0.2)
    ours = build_detector(model_config(), CLASSES, channels_last=channels_last)
    ours.load_state_dict(from_torchvision(peer.state_dict()))
    return peer.to(device), ours.to(device)


def draw_batch(
    batch: int, size: tuple[int, int], targets: tuple[list[dict[str, Tensor]], Targets], device: torch.device
) -> tuple[list[Tensor], list[dict[str, Tensor]], Batch]:
    """Make the same images for both: a list of floats in 0..1 with its targets, and a batch of uint8."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (batch, *size, 3), generator=generator, dtype=torch.uint8).permute(0, 3, 1, 2)
    sizes = torch.tensor([size] * batch)
    theirs, ours = targets
    names = tuple(str(number) for number in range(batch))
    whole = Batch(pixels, sizes, sizes, ours, tuple(range(batch)), names)
    moved: list[dict[str, Any]] = [{key: value.to(device) for key, value in each.items()} for each in theirs]
    return [image.contiguous().to(device) / 255 for image in pixels], moved, whole
