"""Backbones: from images to the feature maps C2 to C5 at strides 4, 8, 16 and 32."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from fcos.config.choices import BackboneNorm
from fcos.model.deformable import deform_stages
from fcos.model.norm import batch_norm, fold_frozen_norms
from fcos.model.pretrained import pretrained_state_dict

NormLayer = Callable[[int], nn.Module]

# Ends of the stem and of C2 to C5 in torchvision's `features`; the layers after C5 are for classification only.
MOBILENET_STAGE_ENDS: Mapping[str, Sequence[int]] = {
    "mobilenet_v2": (2, 4, 7, 14, 18),
    "mobilenet_v3_large": (2, 4, 7, 13, 16),
}


class Backbone(nn.Module):
    """A stem and the stages c2, c3, ... up to the deepest level in use.

    Returns features from `first_level` on. The first `frozen_stages`, counted from the stem, get no gradients, and
    their batch norms keep their statistics.
    """

    def __init__(self, stem: nn.Module, stages: Sequence[nn.Module], *, first_level: int, frozen_stages: int) -> None:
        super().__init__()
        self.stem = stem
        for level, stage in enumerate(stages, start=2):
            self.add_module(f"c{level}", stage)
        self.first_level = first_level
        self.frozen_stages = frozen_stages
        self.channels = [_out_channels(stage) for stage in stages][first_level - 2 :]
        for stage in self._frozen():
            stage.requires_grad_(False)
        # A new module is in training mode, in which the statistics of frozen batch norms would change.
        self.train(self.training)

    def _frozen(self) -> list[nn.Module]:
        return list(self.children())[: self.frozen_stages]

    def train(self, mode: bool = True) -> "Backbone":
        super().train(mode)
        for stage in self._frozen():
            stage.eval()
        return self

    def forward(self, x: Float[Tensor, "B 3 H W"]) -> dict[str, Float[Tensor, "B _ _ _"]]:
        features: dict[str, Tensor] = {}
        for name, stage in self.named_children():
            x = stage(x)
            features[name] = x
        return {name: x for name, x in features.items() if name != "stem" and int(name[1:]) >= self.first_level}


def build_backbone(
    name: str,
    *,
    norm: BackboneNorm,
    weights: str | None,
    frozen_stages: int,
    widths: Sequence[int],
    first_level: int,
    last_level: int,
    deformable_stages: int = 0,
    stride_in_1x1: bool = False,
) -> Backbone:
    """Build a backbone that returns the feature maps of the levels first_level..last_level (2..5).

    `widths` are the channels of small_resnet's stem and C2 to C5. The last `deformable_stages` stages get deformable
    convolutions. `stride_in_1x1` is for weights that were trained with it.

    Raises ConfigError for weights that are not available, and for sync_bn on CPU workers.
    """
    match name:
        case "small_resnet":
            stem, stages = _small_resnet(widths, norm)
        case "mobilenet_v2" | "mobilenet_v3_large":
            stem, stages = _mobilenet(name, norm, weights)
        case _:
            stem, stages = _resnet(name, norm, weights)
            if stride_in_1x1:
                _move_stride_to_first_conv(stages)
    backbone = Backbone(stem, stages[: last_level - 1], first_level=first_level, frozen_stages=frozen_stages)
    # Before folding, which needs plain convolutions; after the channels are counted and the weights loaded.
    built_stages = stages[: last_level - 1]
    deform_stages(built_stages[max(0, len(built_stages) - deformable_stages) :])
    fold_frozen_norms(backbone)
    return backbone


def _resnet(name: str, norm: BackboneNorm, weights: str | None) -> tuple[nn.Module, list[nn.Module]]:
    model = get_model(name, weights=None, norm_layer=batch_norm(norm))
    assert isinstance(model, ResNet)
    if weights is not None:
        model.load_state_dict(pretrained_state_dict(name, weights))
    stem = nn.Sequential(OrderedDict(conv1=model.conv1, bn1=model.bn1, relu=model.relu, maxpool=model.maxpool))
    return stem, [model.layer1, model.layer2, model.layer3, model.layer4]


def _move_stride_to_first_conv(stages: Sequence[nn.Module]) -> None:
    """Move the stride of each bottleneck from its second convolution to its first."""
    for block in (module for stage in stages for module in stage.modules() if isinstance(module, Bottleneck)):
        block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride


def _mobilenet(name: str, norm: BackboneNorm, weights: str | None) -> tuple[nn.Module, list[nn.Module]]:
    # torchvision trained v3 with these values; a smaller eps would change the outputs of the pretrained weights.
    norm_layer = batch_norm(norm, eps=0.001, momentum=0.01) if name == "mobilenet_v3_large" else batch_norm(norm)
    model = get_model(name, weights=None, norm_layer=norm_layer)
    if weights is not None:
        model.load_state_dict(pretrained_state_dict(name, weights))
    features = model.features
    assert isinstance(features, nn.Sequential)
    stem_end, *_ = ends = MOBILENET_STAGE_ENDS[name]
    return features[:stem_end], [features[start:end] for start, end in pairwise(ends)]


def _small_resnet(widths: Sequence[int], norm: BackboneNorm) -> tuple[nn.Module, list[nn.Module]]:
    norm_layer = batch_norm(norm)
    stem = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, widths[0], kernel_size=3, stride=2, padding=1, bias=False),
            bn1=norm_layer(widths[0]),
            relu=nn.ReLU(inplace=True),
        )
    )
    stages: list[nn.Module] = [
        nn.Sequential(_block(in_channels, out_channels, norm_layer)) for in_channels, out_channels in pairwise(widths)
    ]
    for module in nn.Sequential(stem, *stages).modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        # With frozen_bn a zero gamma would disable the residual branch for good, so it stays one.
        elif isinstance(module, BasicBlock) and norm != "frozen_bn":
            nn.init.zeros_(module.bn2.weight)
    return stem, stages


def _block(in_channels: int, out_channels: int, norm_layer: NormLayer) -> BasicBlock:
    shortcut = nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=2, bias=False), norm_layer(out_channels)
    )
    return BasicBlock(in_channels, out_channels, stride=2, downsample=shortcut, norm_layer=norm_layer)


def _out_channels(stage: nn.Module) -> int:
    return [module.out_channels for module in stage.modules() if isinstance(module, nn.Conv2d)][-1]
