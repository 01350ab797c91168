"""Schema of the backbone and of the weights that it begins from."""

from pathlib import Path
from typing import get_args

from pydantic import Field, model_validator

from fcos.config.base import Section
from fcos.config.choices import BackboneName, BackboneNorm
from fcos.config.paths import WeightsName, is_weights_file
from fcos.errors import suggest

# Prefix of the names of timm's networks.
TIMM = "timm/"
BOTTLENECK_RESNETS = ("resnet50", "resnet101", "resnext")


class BackboneConfig(Section):
    """The backbone and its weights."""

    # One of BackboneName, or timm/<name> for a network of timm that yields the strides in use.
    name: str
    # Batch norms of the backbone: fixed at the weights' statistics (frozen_bn, the papers), by worker (bn), over
    # all workers (sync_bn); own: those of a timm network without batch norms.
    norm: BackboneNorm
    # Weights to begin from: a set of torchvision by name (IMAGENET1K_V1), of timm by tag (timm/resnet18: a1_in1k), a
    # file (.safetensors, .pth), or `installed`: those that come as a Python package. null starts from random weights.
    weights: WeightsName | None = None
    # SHA-256 of that file, filled in with the plan; a training begins from that content only.
    weights_sha256: str | None = None
    # Number of stages, counted from the stem, without gradients (the papers freeze 2: stem and res2).
    frozen_stages: int = Field(0, ge=0, le=5)
    # Number of stages, counted from the deepest, with deformable 3x3 convolutions (DCNv2; the papers: 3). ResNets only.
    deformable_stages: int = Field(0, ge=0, le=4)
    # small_resnet only: channels of the stem and of C2 to C5.
    widths: tuple[int, int, int, int, int] = (16, 32, 64, 96, 128)
    # ResNets of Caffe and detectron2 have a block's stride in its first convolution, torchvision's in its second.
    stride_in_1x1: bool = False

    @property
    def timm_name(self) -> str | None:
        """The name of a timm network; None for other backbones."""
        return self.name.removeprefix(TIMM) if self.name.startswith(TIMM) else None

    @property
    def weights_file(self) -> Path | None:
        """The file of the weights; None without one."""
        return Path(self.weights) if self.weights is not None and is_weights_file(self.weights) else None

    @model_validator(mode="after")
    def _check(self) -> "BackboneConfig":
        known = get_args(BackboneName)
        if self.name not in known and self.name.removeprefix(TIMM) in ("", self.name):
            hint = suggest(self.name, known) or f"there are {', '.join(known)}"
            raise ValueError(f"name={self.name}: no such backbone; {hint}, and networks of timm as timm/<name>")
        # torch 2.15 corrupts the heap in the backward of a narrow 1x1 stride-2 convolution in channels_last.
        if self.name == "small_resnet" and min(self.widths) < 16:
            raise ValueError(f"widths={list(self.widths)}: every width must be at least 16")
        if self.deformable_stages and self.name.startswith("mobilenet"):
            raise ValueError(
                f"deformable_stages={self.deformable_stages}: {self.name} has no 3x3 convolutions over all channels"
            )
        if self.deformable_stages and self.timm_name is not None:
            raise ValueError(
                f"deformable_stages={self.deformable_stages}: {self.name}: only torchvision's ResNets have them"
            )
        if self.norm == "own" and self.timm_name is None:
            raise ValueError(f"norm=own: is for networks of timm without batch norms; {self.name} has batch norms")
        if self.stride_in_1x1 and not self.name.startswith(BOTTLENECK_RESNETS):
            raise ValueError(f"stride_in_1x1=true: {self.name} has no blocks that begin with a 1x1 convolution")
        if self.name == "small_resnet" and self.weights is not None and self.weights_file is None:
            raise ValueError(f"weights={self.weights}: small_resnet has no pretrained weights")
        return self
