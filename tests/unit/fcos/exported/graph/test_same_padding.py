"""SAME padding of timm's networks becomes constant in a file, with the same values on each canvas."""

import copy

import pytest
import torch
from torch import nn

from fcos.build import build_detector
from fcos.config.model import ModelConfig
from fcos.config.parse import with_keys
from fcos.config.presets import load_presets
from fcos.exported.graph.same_padding import with_constant_padding
from fcos.model.detector import FCOS


def make(name: str) -> FCOS:
    model = load_presets()["rosinality"]
    keys = {"backbone.name": name, "backbone.weights": None, "backbone.norm": "frozen_bn", "backbone.frozen_stages": 0}
    config = with_keys(model, keys)
    assert isinstance(config, ModelConfig)
    torch.manual_seed(0)
    return build_detector(config, 2, channels_last=False).eval()


def same_convs(detector: FCOS) -> list[nn.Module]:
    from timm.layers.conv2d_same import Conv2dSame

    return [module for module in detector.modules() if isinstance(module, Conv2dSame)]


@pytest.mark.parametrize("name", ["timm/tf_efficientnet_lite0", "timm/tf_mobilenetv3_small_minimal_100"])
def test_canvases_of_whole_blocks_give_what_padding_by_their_size_gives(name: str) -> None:
    detector = make(name)
    assert same_convs(detector)
    constant = with_constant_padding(copy.deepcopy(detector), 32)
    assert not same_convs(constant)
    for height, width in ((32, 64), (96, 160)):
        pixels = torch.rand(1, 3, height, width)
        for level, feature in detector.backbone(pixels).items():
            torch.testing.assert_close(constant.backbone(pixels)[level], feature)


def test_convolutions_whose_padding_depends_on_the_canvas_stay() -> None:
    detector = make("timm/tf_efficientnet_lite0")
    left = same_convs(with_constant_padding(copy.deepcopy(detector), 8))
    # Those that halve sides of 8 and more blocks' worth are constant; behind them, sides of one are odd.
    assert 0 < len(left) < len(same_convs(detector))


@pytest.mark.parametrize(("size_divisor", "num_left"), [(24, 2), (30, 4)])
def test_convolutions_behind_one_whose_padding_depends_on_the_canvas_stay(size_divisor: int, num_left: int) -> None:
    # A block of 24 becomes 12, 6, 3 and 2, one of 30 becomes 15, 8, 4 and 2; several become less than as many of them.
    detector = make("timm/tf_efficientnet_lite0")
    constant = with_constant_padding(copy.deepcopy(detector), size_divisor)
    assert len(same_convs(constant)) == num_left
    for height, width in ((1, 2), (4, 3)):
        pixels = torch.rand(1, 3, height * size_divisor, width * size_divisor)
        for level, feature in detector.backbone(pixels).items():
            torch.testing.assert_close(constant.backbone(pixels)[level], feature)


@pytest.mark.parametrize("name", ["small_resnet", "timm/mobilenetv3_small_050"])
def test_other_backbones_are_neither_changed_nor_run(name: str) -> None:
    detector = make(name)
    detector.backbone.register_forward_pre_hook(lambda *_: pytest.fail("is run"))
    before = {name: id(module) for name, module in detector.named_modules()}
    assert {name: id(module) for name, module in with_constant_padding(detector, 1).named_modules()} == before
