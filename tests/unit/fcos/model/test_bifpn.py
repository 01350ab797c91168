"""BiFPN: output shapes of FPN, information flow between all levels, weighted fusion."""

import pytest
import torch
from torch import Tensor

from fcos.config.choices import ExtraLevelsFrom, PyramidNorm
from fcos.model.bifpn import BiFPN, Cell
from fcos.model.fpn import build_fpn
from tests.helpers.present import present

IN_CHANNELS = (16, 24, 32)


def features(batch: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = ((13, 20), (7, 10), (4, 5))
    return {
        f"c{level}": torch.randn(batch, channels, *size, generator=generator)
        for level, channels, size in zip((3, 4, 5), IN_CHANNELS, sizes, strict=True)
    }


def build(extra_levels: int = 2, source: ExtraLevelsFrom = "p5", cells: int = 2, norm: PyramidNorm = "bn") -> BiFPN:
    torch.manual_seed(0)
    return BiFPN(IN_CHANNELS, 8, extra_levels=extra_levels, extra_levels_from=source, cells=cells, norm=norm)


@pytest.mark.parametrize("source", ["p5", "c5"])
@pytest.mark.parametrize("extra_levels", [0, 1, 2])
def test_output_shapes_equal_those_of_fpn(extra_levels: int, source: ExtraLevelsFrom) -> None:
    ours = build(extra_levels, source)(features())
    theirs = build_fpn(IN_CHANNELS, 8, extra_levels=extra_levels, extra_levels_from=source)(features())
    assert [x.shape for x in ours.values()] == [x.shape for x in theirs.values()]


def test_every_level_depends_on_every_input_and_parameter() -> None:
    pyramid = build(source="c5", norm="none")
    for index in range(5):
        inputs = {name: x.requires_grad_() for name, x in features().items()}
        list(pyramid(inputs).values())[index].square().sum().backward()
        assert all(present(x.grad).abs().sum() > 0 for x in inputs.values())
    assert all(parameter.grad is not None for parameter in pyramid.parameters())


def test_fusion_is_weighted_and_negative_weights_are_zero() -> None:
    cell = Cell(8, 2, "none")
    fine, coarse = torch.rand(1, 8, 4, 4), torch.rand(1, 8, 2, 2)
    with torch.no_grad():
        cell.down_weights.copy_(torch.tensor([[1.0, -1.0]]))
    down = cell([fine, coarse])[0]
    torch.testing.assert_close(down, cell.down[0](fine / 1.0001), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(down, cell([fine, coarse + 5])[0])


def test_batch_equals_single_images_without_batch_norm() -> None:
    pyramid = build(norm="none")
    batched, single = pyramid(features()), pyramid({name: x[:1] for name, x in features().items()})
    for name, x in single.items():
        torch.testing.assert_close(batched[name][:1], x)
