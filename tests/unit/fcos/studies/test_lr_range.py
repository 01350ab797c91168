"""The learning rate range test: rates grow exponentially, the loss is smoothed, a rate is named."""

from pathlib import Path
from typing import Any

import pytest
import torch

from fcos.config.parse import parse
from fcos.config.run import Config
from fcos.errors import ConfigError
from fcos.runtime import LocalRuntime
from fcos.studies.lr_range import RangeTest, draw_range_test, run_range_test, smoothed


def test_a_constant_loss_is_smoothed_to_itself() -> None:
    assert smoothed([3.0] * 5) == pytest.approx([3.0] * 5)


def test_the_rate_to_take_is_a_tenth_of_that_of_the_lowest_loss() -> None:
    test = RangeTest((0.001, 0.01, 0.1, 1.0), (2.0, 1.0, 0.5, 2.5))
    assert test.lowest == 0.1
    assert test.suggestion == pytest.approx(0.01)
    assert test.blew_up and not RangeTest((0.1, 0.2), (1.0, 0.9)).blew_up


def test_rates_grow_exponentially_and_the_curve_is_drawn(tiny_values: dict[str, Any], tmp_path: Path) -> None:
    config = parse(Config, tiny_values)
    seen: list[float] = []
    runtime = LocalRuntime(tmp_path, torch.device("cpu"))
    test = run_range_test(
        config, runtime, steps=5, low=1e-5, high=1e-1, progress=lambda step, rate, loss: seen.append(rate)
    )
    assert list(test.rates) == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2, 1e-1][: len(test.rates)])
    assert seen == list(test.rates) and len(test.losses) == len(test.rates)
    draw_range_test(test, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("low", "high", "steps"), [(0.1, 0.01, 10), (0.0, 1.0, 10), (0.1, 1.0, 1)])
def test_rates_that_do_not_rise_are_refused(
    tiny_values: dict[str, Any], tmp_path: Path, low: float, high: float, steps: int
) -> None:
    runtime = LocalRuntime(tmp_path, torch.device("cpu"))
    with pytest.raises(ConfigError, match="rates must rise"):
        run_range_test(parse(Config, tiny_values), runtime, steps=steps, low=low, high=high, progress=lambda *_: None)
