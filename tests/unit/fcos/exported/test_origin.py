"""A file says of which training its weights are, where that is known."""

import json
from pathlib import Path

import pytest
from torch import nn

from fcos.exported.origin import Origin, find_origin
from fcos.storage import checkpoint_folder
from fcos.training import checkpoint


def write_run(folder: Path, summary: str | None) -> Path:
    path = checkpoint.save(
        folder / "checkpoints", step=2, config={"seed": 0}, classes=("a",), model=nn.Linear(1, 1), averages={}, state={}
    )
    if summary is not None:
        (folder / "summary.json").write_text(summary)
    return path


def test_identity_and_data_digest_are_those_of_the_runs_summary(tmp_path: Path) -> None:
    summary = {"step": 2, "seconds": 1.0, "metrics": {}}
    path = write_run(tmp_path, json.dumps({"identity": "ab12", "summary": {**summary, "data_digest": "cd34"}}))
    assert find_origin(path) == Origin("ab12", "cd34", checkpoint_folder.digest(path))


@pytest.mark.parametrize("summary", [None, "", "[]", "7", '{"identity": "x"}', '{"identity": "x", "summary": 3}'])
def test_a_checkpoint_without_a_readable_summary_has_its_hash_alone(tmp_path: Path, summary: str | None) -> None:
    path = write_run(tmp_path, summary)
    assert find_origin(path) == Origin(weights_sha256=checkpoint_folder.digest(path))


def test_published_weights_have_the_hash_of_their_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"weights")
    assert find_origin(path) == Origin(
        weights_sha256="9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"
    )
