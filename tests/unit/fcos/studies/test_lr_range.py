"""The learning rate range test: rates grow exponentially, the loss is smoothed, a rate is named."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fcos.config.parse import parse
from fcos.config.run import Config
from fcos.errors import ConfigError
from fcos.runtime import LocalRuntime
from fcos.studies.lr_range import RangeTest, draw_range_test, run_range_test, smoothed
from orchestration.lr_range import main, write_results


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


def test_objects_are_pasted_as_in_a_training(tiny_values: dict[str, Any], tmp_path: Path) -> None:
    tiny_values["data"]["augmentation"] = {"copy_paste": 0.9}
    runtime = LocalRuntime(tmp_path, torch.device("cpu"))
    test = run_range_test(parse(Config, tiny_values), runtime, steps=2, low=1e-5, high=1e-4, progress=lambda *_: None)
    assert len(test.losses) == 2


def test_norms_over_one_location_are_refused_as_for_a_training(tiny_values: dict[str, Any], tmp_path: Path) -> None:
    tiny_values["schedule"]["batch_size"] = 1
    tiny_values["model"]["head"]["norm"] = "bn"
    runtime = LocalRuntime(tmp_path, torch.device("cpu"))
    with pytest.raises(ConfigError, match=r"model\.head\.norm=bn has no variance over the one location"):
        run_range_test(parse(Config, tiny_values), runtime, steps=2, low=1e-5, high=1e-4, progress=lambda *_: None)


def test_a_curve_that_cannot_be_drawn_costs_no_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no font")

    monkeypatch.setattr("fcos.studies.lr_range.draw_range_test", fail)
    line = write_results(RangeTest((0.1, 0.2), (1.0, 0.9)), tmp_path / "out")
    assert line == f"{tmp_path / 'out' / 'lr_range.png'} could not be drawn (no font)"
    assert json.loads((tmp_path / "out" / "lr_range.json").read_text()) == {"rates": [0.1, 0.2], "losses": [1.0, 0.9]}


def test_what_was_chosen_for_a_command_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(config: Config, *_: object, **__: object) -> RangeTest:
        assert config.data.augmentation.photometric == 0.3
        return RangeTest((0.001, 0.01, 0.1, 1.0), (2.0, 1.0, 0.5, 2.5))

    monkeypatch.setattr("fcos.studies.lr_range.run_range_test", measure)
    monkeypatch.setattr("orchestration.lr_range.write_results", lambda test, folder: "written")
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    assert main(["schedule=finetune", f"output={tmp_path}"]) == 0
    title, choice, *_ = capsys.readouterr().out.splitlines()
    assert title == "chosen, with the words that set it by hand:"
    assert choice.split() == ["augmentation", "augmentation=light"]


@pytest.mark.parametrize(("low", "high", "steps"), [(0.1, 0.01, 10), (0.0, 1.0, 10), (0.1, 1.0, 1)])
def test_rates_that_do_not_rise_are_refused(
    tiny_values: dict[str, Any], tmp_path: Path, low: float, high: float, steps: int
) -> None:
    runtime = LocalRuntime(tmp_path, torch.device("cpu"))
    with pytest.raises(ConfigError, match="rates must rise"):
        run_range_test(parse(Config, tiny_values), runtime, steps=steps, low=low, high=high, progress=lambda *_: None)
