"""Oracles, analyses and a second stage on a trained run: from settings to metrics."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from fcos.__main__ import main
from fcos.config.evaluation import EvaluationSettings
from fcos.config.parse import parse, set_value
from fcos.config.run import Config
from fcos.runtime import LocalRuntime
from fcos.storage.run_folder import RunSummary
from fcos.training_run import run

ALL = ("class_agnostic", "proposals", "score_iou", "ambiguous", "errors")


@pytest.fixture(scope="module")
def trained(module_tiny_values, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunSummary, list]:
    """A run, which no test changes, with oracles as arms that share its training; its summary and points."""
    values = set_value(module_tiny_values, "model.postprocess.score_threshold", 0.001)
    base = values["model"]["postprocess"]
    arms = {
        "predicted": parse(EvaluationSettings, {"postprocess": {**base, "analyses": list(ALL)}}),
        "class_iou": parse(
            EvaluationSettings, {"postprocess": {**base, "oracle": "class_iou", "oracle_background": "nothing"}}
        ),
        "box": parse(EvaluationSettings, {"postprocess": {**base, "oracle": "box", "oracle_background": "nothing"}}),
    }
    points: list = []
    folder = tmp_path_factory.mktemp("trained") / "run"
    runtime = LocalRuntime(folder, torch.device("cpu"), on_report=lambda record: points.extend(record.points))
    return folder, run(parse(Config, values), runtime, arms), points


def test_arms_of_one_training_have_oracles_and_analyses_of_their_own(trained, capsys, tmp_path: Path) -> None:
    folder, summary, points = trained
    metrics = summary.metrics
    # Knowing the truth helps however little has been learned.
    assert metrics["box"]["val/AP"] > 0.1 > metrics["predicted"]["val/AP"]
    assert metrics["class_iou"]["val/AP50"] > metrics["predicted"]["val/AP50"]
    kinds = {key.split("/")[1] for key in metrics["predicted"] if key.count("/") == 2}
    assert kinds == {"class_AP", *ALL}
    assert not any(key.startswith("val/errors") for key in metrics["box"])
    _check_floor(points)
    changes = ["--set", "model.postprocess.oracle=box", "--set", "model.postprocess.oracle_background=nothing"]
    output = tmp_path / "box.json"
    assert main(["evaluate", str(folder), *changes, "--output", str(output)]) == 0
    assert json.loads(output.read_text())["metrics"] == pytest.approx(metrics["box"], abs=1e-6)
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    assert main(["predict", str(folder), str(tmp_path / "a.png"), "--output", str(tmp_path / "o"), *changes]) == 2
    assert "needs annotated boxes" in capsys.readouterr().err


def _check_floor(points: list) -> None:
    found = {
        name: [value for _, key, _, value in points if key == f"train/loss_quality{name}"]
        for name in ("", "_floor", "_excess")
    }
    assert len(found[""]) >= 3
    for loss, floor, excess in zip(*found.values(), strict=True):
        assert 0 < floor < loss and excess == pytest.approx(loss - floor, abs=1e-5)


def test_figure_7_is_drawn_and_a_second_stage_trains_on_the_proposals(trained, capsys, tmp_path: Path) -> None:
    output = tmp_path / "figure" / "score_iou.png"
    assert main(["score-iou", str(trained[0]), "--output", str(output)]) == 0
    lines = capsys.readouterr().out.splitlines()
    titles = [f"{score}, {when} NMS" for score in ("class score", "score with quality") for when in ("before", "after")]
    assert [line.split(":")[0] for line in lines[:4]] == titles
    counts = [int(line.split(": ")[1].split()[0]) for line in lines[:4]]
    assert counts[0] > counts[1] > 0 and counts[2] > counts[3] > 0
    assert output.read_bytes().startswith(b"\x89PNG")
    arguments = ["two-stage", str(trained[0]), "--steps", "3", "--hidden", "16", "--batch-size", "4"]
    outputs = [tmp_path / "one.json", tmp_path / "two.json"]
    for output in outputs:
        assert main([*arguments, "--output", str(output)]) == 0
    first, second = (json.loads(output.read_text())["metrics"] for output in outputs)
    assert first == second
    assert 0 <= first["val/AP"] <= 1 and 0 < first["val/proposals/AR100"] <= first["val/proposals/AR1k"]
    assert "val/proposals/AR1k" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*arguments, "--lr", "-1"])
