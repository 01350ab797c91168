"""Backbones: from images to the feature maps C2 to C5 at strides 4, 8, 16 and 32."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from fcos.config.backbone import BackboneConfig
from fcos.config.choices import BackboneNorm
from fcos.model.deformable import deform_stages
from fcos.model.local_weights import local_file
from fcos.model.norm import batch_norm, fold_frozen_norms
from fcos.model.pretrained import load_file_weights, pretrained_state_dict, tensors_of
from fcos.model.timm_backbone import TimmBackbone, build_timm

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
        # Remarks on the weights that it began from.
        self.notes: tuple[str, ...] = ()
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


def build_backbone(config: BackboneConfig, *, first_level: int, last_level: int) -> Backbone | TimmBackbone:
    """Build a backbone that returns the feature maps of the levels first_level..last_level (2..5), with its weights.

    Raises ConfigError for weights that are not available or are those of another network, for a network of timm that
    does not exist or yield these levels, and for sync_bn on CPU workers.
    """
    if config.timm_name is not None:
        return build_timm(config, first_level=first_level, last_level=last_level)
    network, stem, stages = _layers(config)
    stages = stages[: last_level - 1]
    backbone = Backbone(stem, stages, first_level=first_level, frozen_stages=config.frozen_stages)
    if (file := local_file(config)) is not None:
        backbone.notes = load_file_weights(
            file, config, [tensors_of(network, backbone), tensors_of(backbone, backbone)]
        )
    # Before folding, which needs plain convolutions; after the channels are counted and the weights loaded.
    deform_stages(stages[max(0, len(stages) - config.deformable_stages) :])
    fold_frozen_norms(backbone)
    return backbone


def _layers(config: BackboneConfig) -> tuple[nn.Module, nn.Module, list[nn.Module]]:
    """Return a network, with torchvision's weights where a set is named, its stem, and its stages C2 to C5."""
    match config.name:
        case "small_resnet":
            stem, stages = _small_resnet(config.widths, config.norm)
            return nn.Sequential(stem, *stages), stem, stages
        case "mobilenet_v2" | "mobilenet_v3_large":
            network = _network(config)
            return network, *_mobilenet_parts(network, config.name)
        case _:
            network = _network(config)
            stem, stages = _resnet_parts(network)
            if config.stride_in_1x1:
                _move_stride_to_first_conv(stages)
            return network, stem, stages


def _network(config: BackboneConfig) -> nn.Module:
    # torchvision trained v3 with these values; a smaller eps would change the outputs of the pretrained weights.
    special = {"eps": 0.001, "momentum": 0.01} if config.name == "mobilenet_v3_large" else {}
    network: nn.Module = get_model(config.name, weights=None, norm_layer=batch_norm(config.norm, **special))
    if config.weights is not None and local_file(config) is None:
        network.load_state_dict(pretrained_state_dict(config.name, config.weights))
    return network


def _resnet_parts(model: nn.Module) -> tuple[nn.Module, list[nn.Module]]:
    assert isinstance(model, ResNet)
    stem = nn.Sequential(OrderedDict(conv1=model.conv1, bn1=model.bn1, relu=model.relu, maxpool=model.maxpool))
    return stem, [model.layer1, model.layer2, model.layer3, model.layer4]


def _move_stride_to_first_conv(stages: Sequence[nn.Module]) -> None:
    """Move the stride of each bottleneck from its second convolution to its first."""
    for block in (module for stage in stages for module in stage.modules() if isinstance(module, Bottleneck)):
        block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride


def _mobilenet_parts(model: nn.Module, name: str) -> tuple[nn.Module, list[nn.Module]]:
    features = model.get_submodule("features")
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
