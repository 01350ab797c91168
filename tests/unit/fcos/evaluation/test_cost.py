"""The analysis `cost`: parameters, multiply-adds, and a latency that its first batch does not decide."""

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from fcos.evaluation.cost import CostLog, count_multiply_adds
from fcos.structures import Batch, Targets

CPU = torch.device("cpu")


class OneConvolution(nn.Module):
    """A detector as far as its cost is concerned; counts how often it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, pixels: Tensor, sizes: Tensor) -> Tensor:
        return cast(Tensor, self.convolution(pixels / 255))


def batch_of(images: int) -> Batch:
    sizes = torch.tensor([(32, 16)] * images)
    boxes, none = torch.zeros((images, 8, 4)), torch.zeros((images, 8), dtype=torch.int64)
    targets = Targets(boxes, none, none.bool())
    pixels = torch.zeros((images, 3, 32, 16), dtype=torch.uint8)
    return Batch(pixels, sizes, sizes, targets, tuple(range(images)), ("",) * images)


def test_multiply_adds_are_those_of_one_image() -> None:
    model = OneConvolution().train()
    assert count_multiply_adds(model, (32, 16), CPU) == 8 * 3 * 9 * 32 * 16
    assert model.training


@pytest.mark.parametrize(("seconds", "milliseconds"), [([9.0], 4500), ([9.0, 0.2, 0.4, 0.6], 200)])
def test_latency_is_the_median_of_an_image_without_the_first_batch(seconds: list[float], milliseconds: float) -> None:
    log = CostLog()
    for each in seconds:
        log.add("arm", batch_of(2), each)
    metrics: dict[str, Any] = log.metrics("arm", OneConvolution(), CPU)
    assert metrics["val/cost/latency_ms"] == pytest.approx(milliseconds)
    assert metrics["val/cost/parameters"] == 8 * 3 * 9 + 8
    assert metrics["val/cost/multiply_adds"] == 8 * 3 * 9 * 32 * 16


def test_a_post_processing_that_was_not_timed_has_no_cost() -> None:
    assert CostLog().metrics("arm", OneConvolution(), CPU) == {}
