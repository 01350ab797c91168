"""Model cards are read by Hugging Face's own library, with the mean and the spread of the report."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import EvalResult, ModelCard

from tests.helpers.experiments.decided_sweeps import DECIDED
from tests.helpers.experiments.stored_sweeps import SweepWriter


def read_results(file: Path) -> dict[str | None, EvalResult]:
    card = ModelCard.load(file)
    card.data.eval_results = card.data.eval_results or []
    return {result.metric_name: result for result in card.data.eval_results}


def test_the_index_has_mean_and_spread_with_seeds_and_runs(written: Path) -> None:
    results = read_results(written / "model_card_decided.md")
    mean = results["AP, mean of 8 seeds"]
    assert mean.metric_value == pytest.approx(np.mean(DECIDED["branch"]), rel=1e-12)
    spread = results["AP, sample standard deviation over 8 seeds"]
    assert spread.metric_value == pytest.approx(np.std(DECIDED["branch"], ddof=1), rel=1e-12)
    assert mean.metric_args is not None and mean.metric_args["n"] == 8
    assert mean.metric_args["seeds"] == list(range(8)) and len(set(mean.metric_args["runs"])) == 8
    assert (mean.task_type, mean.dataset_type, mean.dataset_split) == ("object-detection", "synthetic", "validation")
    assert mean.dataset_revision == "da" * 32
    assert set(results) == {f"{name}, {of}" for name in ("AP", "AP50") for of in (
        "mean of 8 seeds", "sample standard deviation over 8 seeds"
    )}  # fmt: skip


def test_the_card_is_about_the_best_arm_and_gives_the_verdict(written: Path) -> None:
    text = (written / "model_card_decided.md").read_text()
    assert "# decided: branch\n" in text
    assert "Compared with the baseline: higher than none: +3.2 AP" in text
    assert "trained 8 times; weights that come with this card are of one of these" in text
    assert "detects nothing in photographs" in text
    assert "--arm branch --seed 0" in text


def test_a_license_is_unknown_until_it_is_given(
    writer: SweepWriter, run_paper: Callable[..., int], written: Path, tmp_path: Path
) -> None:
    assert ModelCard.load(written / "model_card_decided.md").data.license == "unknown"
    assert "The license of weights and data is not recorded." in (written / "model_card_decided.md").read_text()
    words = ("decided", "--tracking-uri", writer.uri, "--output", tmp_path, "--license", "CC-BY-4.0")
    assert run_paper(*words) == 0
    assert ModelCard.load(tmp_path / "model_card.md").data.license == "cc-by-4.0"


def test_every_seed_has_its_run_and_weights(written: Path) -> None:
    text = (written / "model_card_decided.md").read_text()
    for seed, value in enumerate(DECIDED["branch"]):
        assert f"| {seed} | {100 * value:.1f} | " in text and f" | {str(seed) * 64} |" in text


def test_a_hostile_name_stays_a_text_of_the_metadata(written: Path) -> None:
    card = ModelCard.load(written / "model_card_hostile.md")
    assert card.data.model_name == "hostile branch"
