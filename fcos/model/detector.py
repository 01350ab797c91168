"""The FCOS detector: from padded images to predictions at every location."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from fcos.model.backbone import Backbone
from fcos.model.bifpn import BiFPN
from fcos.model.head import Head, SeparateHeads
from fcos.model.normalize import normalize_pixels
from fcos.model.timm_backbone import TimmBackbone
from fcos.structures import HeadOutputs

# ImageNet statistics of RGB in 0..1, with which torchvision's backbones were trained.
PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)


class FCOS(nn.Module):
    """The detector without assignment, losses and post-processing; the same in training and evaluation mode.

    `levels` are consecutive; level l has stride 2**l and ceil(side / 2**l) locations along a side.
    """

    def __init__(
        self,
        backbone: Backbone | TimmBackbone,
        fpn: FeaturePyramidNetwork | BiFPN,
        head: Head | SeparateHeads,
        *,
        levels: Sequence[int],
        channels_last: bool,
        pixel_mean: Sequence[float] = PIXEL_MEAN,
        pixel_std: Sequence[float] = PIXEL_STD,
    ) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.strides = tuple(2**level for level in levels)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.backbone = backbone
        self.fpn = fpn
        self.head = head
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(1, 3, 1, 1), persistent=False)
        self.to(memory_format=self.memory_format)

    pixel_mean: Tensor
    pixel_std: Tensor

    def forward(self, pixels: UInt8[Tensor, "B 3 H W"], sizes: Int[Tensor, "B 2"]) -> HeadOutputs:
        """Predict at all locations; `pixels` are padded RGB 0..255, `sizes` are (height, width) before padding."""
        features = self.fpn(self.backbone(self.normalize(pixels, sizes)))
        outputs: HeadOutputs = self.head(list(features.values()))
        return outputs

    def normalize(self, pixels: UInt8[Tensor, "B 3 H W"], sizes: Int[Tensor, "B 2"]) -> Float[Tensor, "B 3 H W"]:
        """Subtract the mean and divide by the standard deviation; the padding becomes zero, whatever it held."""
        return normalize_pixels(pixels, sizes, self.pixel_mean, self.pixel_std, self.memory_format)
