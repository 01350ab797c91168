"""Long rows of training steps without a positive location are logged and noted."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from fcos.config.parse import parse
from fcos.config.run import Config
from fcos.metrics import TERMS
from fcos.runtime import LocalRuntime
from fcos.training.missing_positives import MIN_STEPS, MissingPositives
from fcos.training.step import LossLog
from fcos.training_run import run


def counted(*positives: float) -> MissingPositives:
    missing = MissingPositives()
    for step, value in enumerate(positives, start=1):
        missing.add(step, value)
    return missing


def test_positives_now_and_then_are_no_reason_for_a_note() -> None:
    assert counted(*([0.0] * (MIN_STEPS - 1) + [0.5]) * 3).notes() == []
    assert counted().notes() == []


def test_a_long_row_is_noted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        (note,) = counted(1.0, *[0.0] * (MIN_STEPS + 7), 1.0, 0.0).notes()
    assert note.startswith(
        f"warning: no location was positive in {MIN_STEPS + 7} steps in a row (up to step {MIN_STEPS + 8})"
    )
    assert caplog.text.count("no location was positive") == 1


def test_a_short_training_without_any_positive_is_noted() -> None:
    (note,) = counted(0.0, 0.0, 0.0).notes()
    assert "in 3 steps in a row (up to step 3)" in note


def test_the_log_of_losses_counts_every_step_when_it_is_read() -> None:
    log = LossLog()
    for step, positives in enumerate((0.0, 0.0, 2.0), start=1):
        terms = torch.zeros(len(TERMS))
        terms[TERMS.index("positives_per_image")] = positives
        log.add(step, terms, ())
    assert log.missing_positives.steps == 0
    log.read()
    assert (log.missing_positives.steps, log.missing_positives.longest) == (3, 2)


def test_a_training_whose_boxes_fit_no_level_has_a_note_in_its_summary(
    tiny_values: dict[str, Any], tmp_path: Path
) -> None:
    levels = len(tiny_values["model"]["levels"])
    ranges = [[1000.0 * level, 1000.0 * (level + 1)] for level in range(1, levels + 1)]
    tiny_values["model"]["assignment"]["ranges"] = ranges
    summary = run(parse(Config, tiny_values), LocalRuntime(tmp_path / "run", torch.device("cpu")))
    assert any("no location was positive in 6 steps in a row" in note for note in summary.notes)
