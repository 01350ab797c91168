"""How many images fit follows the least of all limits, and what the detector's layers take."""

import resource

import psutil
import pytest
import torch
from torch import nn

from fcos.prediction.memory import RESERVE, bytes_per_pixel, free_bytes, images_that_fit

CPU = torch.device("cpu")


def test_the_limit_of_the_process_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    used = psutil.Process().memory_info().vms
    monkeypatch.setattr(resource, "getrlimit", lambda _: (used + (64 << 20), resource.RLIM_INFINITY))
    assert 32 << 20 < free_bytes(CPU) <= 64 << 20
    assert images_that_fit((1024, 1024), 100.0, CPU) == 0


def test_an_image_that_fits_by_itself_is_never_refused_for_the_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fcos.prediction.memory.free_bytes", lambda _: 100 * 100 * 50)
    assert images_that_fit((100, 100), 50.0, CPU) == 1
    assert images_that_fit((100, 101), 50.0, CPU) == 0


def test_as_many_images_fit_as_their_pixels_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fcos.prediction.memory.free_bytes", lambda _: RESERVE + 100 * 100 * 50 * 9)
    assert images_that_fit((100, 100), 50.0, CPU) == 9
    assert images_that_fit((100, 100), 200.0, CPU) == 2
    assert images_that_fit((1, 12_000), 50.0, CPU) == 7


def test_the_largest_layer_decides() -> None:
    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide = nn.Conv2d(3, 16, 1)
            self.narrow = nn.Conv2d(16, 2, 1, stride=2)

        def forward(self, pixels: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
            outputs: torch.Tensor = self.narrow(self.wide(pixels.float()))
            return outputs

    # 3 and 16 channels of 4 bytes; the narrow layer has 16 and a quarter of 2.
    assert bytes_per_pixel(Detector().eval()) == 4 * (3 + 16)
