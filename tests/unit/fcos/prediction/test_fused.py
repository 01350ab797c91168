"""Fused detectors give the same; the given one stays as it is."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from fcos.build import build_detector
from fcos.config.model import ModelConfig
from fcos.config.parse import parse
from fcos.model.detector import FCOS
from fcos.prediction import fused
from fcos.prediction.fused import FusedConv2d, fuse

MODELS = Path(__file__).parents[4] / "conf" / "model"
# Sides that strides of networks which pad at the end do not divide, and a padding.
SIZES = torch.tensor([[90, 101], [96, 128]])


def build(model: str, channels_last: bool = True, **backbone: Any) -> FCOS:
    """Build a detector whose norms are not trivial."""
    values = yaml.safe_load((MODELS / f"{model}.yaml").read_text())
    values.pop("defaults", None)
    values["backbone"] |= {"weights": None, **backbone}
    torch.manual_seed(0)
    detector = build_detector(parse(ModelConfig, values), 3, channels_last=channels_last).eval()
    for name, tensor in detector.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.8, 1.5)
    return detector


def outputs_of(detector: FCOS) -> list[Tensor]:
    pixels = torch.randint(0, 256, (2, 3, 96, 128), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    with torch.no_grad():
        found = detector(pixels, SIZES)
    return [*found.logits, found.ltrb, *([] if found.quality is None else [found.quality])]


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("torchvision", {"name": "resnet18"}),
        ("fcos_small", {}),
        ("fcos_small", {"norm": "frozen_bn"}),
        ("fcos_lite", {}),
        ("fcos_lite", {"norm": "bn"}),
        ("fcos_lite", {"name": "mobilenet_v3_large"}),
        ("fcos_lite", {"name": "mobilenet_v2"}),
        ("fcos_lite", {"name": "timm/lcnet_035"}),
    ],
)
@pytest.mark.parametrize("channels_last", [True, False])
def test_outputs_are_the_same(model: str, changes: dict[str, Any], channels_last: bool) -> None:
    detector = build(model, channels_last, **changes)
    before = outputs_of(detector)
    made = fuse(detector)
    assert made is not detector and sum(isinstance(module, FusedConv2d) for module in made.modules()) > 20
    for one, other in zip(before, outputs_of(made), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=float(one.abs().max()) * 1e-5)
    assert all(torch.equal(one, other) for one, other in zip(before, outputs_of(detector), strict=True))
    assert not any(isinstance(module, FusedConv2d) for module in detector.modules())


def test_weights_that_no_norm_goes_into_are_shared() -> None:
    detector = build("fcos_small")
    made = fuse(detector)
    convolution = made.head.get_submodule("classification")
    assert isinstance(convolution, FusedConv2d)
    assert convolution._weight.data_ptr() == detector.head.get_parameter("classification.weight").data_ptr()


class _Reordered(nn.Module):
    """Uses its modules in another order than that of their names."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, stride=2, padding=1)
        self.conv, self.norm = nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels)
        self.norm.running_mean = torch.ones(channels)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.conv(self.norm(self.first(x)))
        return found


def test_a_detector_that_cannot_be_fused_is_returned_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = build("fcos_small")
    with monkeypatch.context() as patch:
        patch.setattr(fused, "_has_operator", lambda: False)
        assert fuse(detector) is detector
    with monkeypatch.context() as patch:
        patch.setattr(fused, "TOLERANCE", -1.0)
        assert fuse(detector) is detector
    detector.backbone.stem = _Reordered(16).eval()
    assert fuse(detector) is detector
