"""Deformable convolutions start as half of the convolution that they replace."""

import pytest
import torch
from torch import nn

from fcos.config.backbone import BackboneConfig
from fcos.config.choices import BackboneNorm
from fcos.model.backbone import Backbone, build_backbone
from fcos.model.deformable import DeformableConv2d
from tests.helpers.present import present


def build(name: str, stages: int, norm: BackboneNorm = "bn", frozen_stages: int = 0) -> Backbone:
    torch.manual_seed(0)
    config = BackboneConfig.model_validate(
        {"name": name, "norm": norm, "frozen_stages": frozen_stages, "deformable_stages": stages, "widths": (16,) * 5}
    )
    backbone = build_backbone(config, first_level=3, last_level=5)
    assert isinstance(backbone, Backbone)
    return backbone


@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 1), (1, 4), (2, 4)])
def test_a_new_deformable_convolution_is_half_the_convolution(stride: int, groups: int) -> None:
    conv = nn.Conv2d(8, 12, 3, stride=stride, padding=1, groups=groups, bias=False)
    x = torch.randn(2, 8, 9, 7)
    torch.testing.assert_close(DeformableConv2d(conv)(x), conv(x) / 2, rtol=1e-4, atol=1e-5)


def test_offsets_get_gradients() -> None:
    deformable = DeformableConv2d(nn.Conv2d(8, 8, 3, padding=1, bias=False))
    deformable(torch.randn(2, 8, 9, 7)).square().sum().backward()
    assert all(present(parameter.grad).abs().sum() > 0 for parameter in deformable.parameters())


@pytest.mark.parametrize("name", ["small_resnet", "resnet18", "resnet50", "resnext101_32x8d"])
@pytest.mark.parametrize("stages", [1, 3])
def test_the_last_stages_are_deformable_with_the_same_channels(name: str, stages: int) -> None:
    with torch.device("meta"):
        plain, deformable = build(name, 0), build(name, stages)
    assert deformable.channels == plain.channels
    assert set(plain.state_dict()) <= set(deformable.state_dict())
    for level in (2, 3, 4, 5):
        replaced = [
            module for module in deformable.get_submodule(f"c{level}").modules() if isinstance(module, DeformableConv2d)
        ]
        assert bool(replaced) is (level > 5 - stages)


def test_frozen_norms_and_stages_stay_frozen() -> None:
    backbone = build("resnet18", 3, norm="frozen_bn", frozen_stages=3)
    x = torch.randn(1, 3, 64, 64)
    assert backbone(x)["c5"].shape == (1, 512, 2, 2)
    trainable = {name.split(".")[0] for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert trainable == {"c4", "c5"}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert backbone(x)["c5"].isfinite().all()
