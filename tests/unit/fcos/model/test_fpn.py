"""The feature pyramid: shapes, and extra levels equal to torchvision's."""

import pytest
import torch
from torch import Tensor
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from fcos.config.choices import ExtraLevelsFrom
from fcos.model.fpn import ExtraLevels, build_fpn


def features(channels: list[int], size: tuple[int, int] = (12, 20)) -> dict[str, Tensor]:
    """Return feature maps from C3 on, each half as large as the one before, rounded up."""
    height, width = size
    return {
        f"c{level}": torch.randn(2, count, -(-height // 2 ** (level - 3)), -(-width // 2 ** (level - 3)))
        for level, count in enumerate(channels, start=3)
    }


@pytest.mark.parametrize("extra_levels", [0, 1, 2, 3])
@pytest.mark.parametrize("source", ["p5", "c5"])
def test_each_extra_level_halves_the_sides(extra_levels: int, source: ExtraLevelsFrom) -> None:
    fpn = build_fpn([8, 12, 16], 10, extra_levels=extra_levels, extra_levels_from=source)
    levels = list(fpn(features([8, 12, 16], (13, 25))).values())
    sizes = [(13, 25), (7, 13), (4, 7), (2, 4), (1, 2), (1, 1)]
    assert [tuple(x.shape) for x in levels] == [(2, 10, *size) for size in sizes[: 3 + extra_levels]]


def test_a_single_level_can_be_built() -> None:
    (p3,) = build_fpn([8], 10, extra_levels=0, extra_levels_from="p5")(features([8])).values()
    assert p3.shape == (2, 10, 12, 20)


@pytest.mark.parametrize(("source", "channels"), [("p5", 10), ("c5", 16)])
def test_two_extra_levels_equal_torchvision(source: ExtraLevelsFrom, channels: int) -> None:
    peer, extra = LastLevelP6P7(channels, 10), ExtraLevels(channels, 10, count=2, source=source)
    for ours, theirs in zip(extra.convs, (peer.p6, peer.p7), strict=True):
        ours.load_state_dict(theirs.state_dict())
    p5, c5 = torch.randn(1, 10, 8, 8), torch.randn(1, 16, 8, 8)
    outputs, _ = extra([p5], [c5], ["c5"])
    expected, _ = peer([p5], [c5], ["c5"])
    for x, y in zip(outputs, expected, strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=0)


def test_p6_uses_c5_even_if_p5_has_as_many_channels() -> None:
    extra = ExtraLevels(10, 10, count=1, source="c5")
    p5, c5 = torch.randn(1, 10, 8, 8), torch.randn(1, 10, 8, 8)
    (_, p6), _ = extra([p5], [c5], ["c5"])
    torch.testing.assert_close(p6, extra.convs[0](c5))
