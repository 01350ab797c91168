"""Coverage over several workers: the figures and files of one worker, whatever the workers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fcos.config.parse import parse
from fcos.config.run import Config
from fcos.coverage.run import run
from fcos.runtime import LocalRuntime

FILES = ("coverage.json", "unrecalled.csv")


def coverage_of(values: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """The configuration of a trial that counts instead of training."""
    ranges = [[0, 16], [16, 24], [24, 32], [32, None]]
    assignment = {
        **values["model"]["assignment"],
        "ranges": ranges,
        "locations": "torchvision",
        "center_sampling_radius": 0.5,
    }
    return {
        **values,
        "model": {**values["model"], "assignment": assignment},
        "task": "coverage",
        "coverage": {"split": "train", **settings},
    }


@pytest.mark.parametrize(
    ("workers", "images", "settings"),
    [
        (2, 24, {"search_ranges": True}),
        pytest.param(3, 2, {}, marks=pytest.mark.slow),
        pytest.param(2, 24, {"assignment": "retinanet", "low_quality": "none"}, marks=pytest.mark.slow),
        pytest.param(3, 1, {"assignment": "retinanet"}, marks=pytest.mark.slow),
    ],
)
def test_workers_give_the_figures_and_files_of_one(
    tiny_values, tmp_path: Path, run_with_workers, workers, images, settings
) -> None:
    values = coverage_of(tiny_values, **settings)
    values["data"]["limit_train"] = images
    reported: list[Any] = []
    runtime = LocalRuntime(tmp_path / "one", torch.device("cpu"), lambda record: reported.append(record.step))
    alone = run(parse(Config, values), runtime)
    together = run_with_workers(values, tmp_path / "some", workers)
    for summary, _, steps in together:
        assert summary.metrics == alone.metrics
        assert steps == together[0][2] and steps[-1] == reported[-1] == images
    for name in FILES:
        assert (tmp_path / "some" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    assert json.loads((tmp_path / "one" / FILES[0]).read_text())["metrics"] == alone.metrics[""]
    maps = [path for path in together[0][0].files if path.startswith("maps/")]
    assert [tmp_path / "some" / path for path in maps] == list((tmp_path / "some" / "maps").glob("*"))
