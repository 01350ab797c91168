"""Pixels are normalised as torchvision does, bit by bit, in every order in memory and size."""

import pytest
import torch
from torch import Tensor

from fcos.model import normalize
from fcos.model.detector import PIXEL_MEAN, PIXEL_STD
from fcos.model.normalize import normalize_pixels

MEAN, STD = (torch.tensor(values).view(1, 3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))
FORMATS = (torch.channels_last, torch.contiguous_format)


def expected(pixels: Tensor, sizes: Tensor) -> Tensor:
    """Return torchvision's values in the images, and zeros around them."""
    result = torch.zeros(pixels.shape)
    for source, target, (height, width) in zip(pixels, result, sizes.tolist(), strict=True):
        target[:, :height, :width] = ((source / 255 - MEAN[0]) / STD[0])[:, :height, :width]
    return result


def draw(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("source_format", FORMATS)
@pytest.mark.parametrize("block", [1, 1000, normalize.BLOCK])
def test_values_are_torchvisions(
    memory_format: torch.memory_format, source_format: torch.memory_format, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(normalize, "BLOCK", block)
    # Every value of every colour occurs.
    pixels = draw(3, 3, 40, 64).contiguous(memory_format=source_format)
    sizes = torch.tensor([[40, 64], [7, 64], [33, 1]])
    found = normalize_pixels(pixels, sizes, MEAN, STD, memory_format)
    assert torch.equal(found, expected(pixels, sizes))
    assert found.is_contiguous(memory_format=memory_format)
    assert found.stride() == torch.empty(found.shape, memory_format=memory_format).stride()


@pytest.mark.parametrize("memory_format", FORMATS)
def test_huge_pages_hold_the_same(memory_format: torch.memory_format, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normalize, "HUGE_FROM", 1)
    pixels, sizes = draw(2, 3, 32, 48), torch.tensor([[32, 48], [20, 31]])
    found = normalize_pixels(pixels, sizes, MEAN, STD, memory_format)
    assert torch.equal(found, expected(pixels, sizes)) and found.is_contiguous(memory_format=memory_format)
    # Memory stays as long as a tensor has it.
    kept, other = found[1], normalize_pixels(pixels, sizes, MEAN, STD, memory_format)
    del found
    assert torch.equal(kept, other[1])


def test_the_way_of_other_devices_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, sizes = draw(2, 3, 32, 48), torch.tensor([[32, 48], [20, 31]])
    one = normalize_pixels(pixels, sizes, MEAN, STD, torch.channels_last)
    monkeypatch.setattr(normalize, "_is_plain", lambda *_: False)
    assert torch.equal(one, normalize_pixels(pixels, sizes, MEAN, STD, torch.channels_last))
