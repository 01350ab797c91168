"""A training begins only with the code, the versions and the data of its plan."""

import json
import platform
import shutil
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

from fcos.config.parse import parse
from fcos.config.run import Config
from fcos.data.prepare import prepare
from fcos.errors import DataChanged
from fcos.installation import ROOT
from fcos.runtime import LocalRuntime
from fcos.training_run import run
from orchestration.experiment import provenance
from orchestration.experiment.provenance import (
    Commit,
    ProvenanceDiffers,
    check_provenance,
    code_differences,
    commit_notes,
    current_provenance,
    git_commit,
)
from orchestration.trial.failures import read_failure
from orchestration.trial.worker import train
from tests.helpers.experiments.tasks import task_in


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the package that counts as the code on disk of a process that has checked nothing yet."""
    shutil.copytree(ROOT / "fcos", tmp_path / "fcos", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setattr(provenance, "_loaded", [])
    yield tmp_path / "fcos"


def test_an_installed_wheel_names_no_commit_of_a_repository_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FCOS_LAB_COMMIT", raising=False)
    assert git_commit(None) == Commit("unknown", "unknown")
    (note,) = commit_notes(None)
    assert note.startswith(f"commit unknown: fcos-lab {version('fcos-lab')} is an installed wheel")
    assert commit_notes(ROOT) == []
    monkeypatch.setenv("FCOS_LAB_COMMIT", "0123456789abcdef-dirty")
    assert git_commit(None) == Commit("0123456789abcdef", "true")
    assert commit_notes(None) == []


def edit(checkout: Path, text: str = "RATE = 10\n") -> None:
    file = checkout / "build.py"
    file.write_text(file.read_text() + text)


def test_unchanged_code_passes_and_stays_passed_in_a_process_that_has_loaded_it(checkout: Path) -> None:
    planned = current_provenance()
    check_provenance(planned)
    edit(checkout)
    assert code_differences(planned)
    check_provenance(planned)


@pytest.mark.parametrize("text", ["RATE = 10\n", "def unfinished(:\n"])
def test_edited_code_is_refused_with_the_machine_and_what_differs(checkout: Path, text: str) -> None:
    planned = current_provenance()
    edit(checkout, text)
    with pytest.raises(
        ProvenanceDiffers, match=rf"on {platform.node()} the code of fcos/ .* planned {planned.code[:12]}"
    ):
        check_provenance(planned)


def test_code_edited_while_it_is_loaded_is_refused(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = current_provenance()
    monkeypatch.setattr(provenance, "_load_all", lambda task: edit(checkout))
    with pytest.raises(ProvenanceDiffers, match="the code of fcos/"):
        check_provenance(planned)


def test_another_version_is_refused_by_name(checkout: Path) -> None:
    planned = current_provenance()
    other = replace(planned, versions={**planned.versions, "torch": "0.1"})
    with pytest.raises(ProvenanceDiffers, match=r"torch is \S+, planned 0\.1"):
        check_provenance(other)


def test_a_training_under_other_code_ends_for_good_without_a_step(checkout: Path, tmp_path: Path) -> None:
    planned = current_provenance()
    edit(checkout)
    folder = tmp_path / "trial"
    folder.mkdir()
    task = task_in(folder, provenance=planned, max_failures=3)
    with pytest.raises(ProvenanceDiffers):
        train(task, lambda: pytest.fail("begun"))
    failure = read_failure(folder)
    assert failure is not None and not failure.retryable and platform.node() in failure.message
    assert "ProvenanceDiffers" in (folder / "log.txt").read_text()


@pytest.fixture
def on_coco(tiny_values: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """The tiny configuration on COCO files of its own."""
    drawn = prepare(parse(Config, tiny_values).data)
    shutil.copytree(drawn.train.folder.parent, tmp_path / "coco")
    data = {key: value for key, value in tiny_values["data"].items() if key not in ("synthetic",)}
    splits = {name: {"annotations": f"{name}.json", "images": name} for name in ("train", "val")}
    return {**tiny_values, "data": {**data, "name": "coco", "root": str(tmp_path / "coco"), **splits}}


def test_other_data_than_planned_are_refused_at_the_start_and_at_a_resume(
    on_coco: dict[str, Any], tmp_path: Path
) -> None:
    config = parse(Config, on_coco)
    digest = prepare(config.data).digest
    runtime = LocalRuntime(tmp_path / "run", torch.device("cpu"))
    runtime.directory.mkdir()
    run(config, runtime, data_digest=digest)
    annotations = tmp_path / "coco" / "val.json"
    values = json.loads(annotations.read_text())
    values["annotations"][0]["bbox"][2] -= 1
    annotations.write_text(json.dumps(values))
    for folder in (runtime.directory, tmp_path / "fresh"):
        folder.mkdir(exist_ok=True)
        with pytest.raises(DataChanged, match=rf"data\.root=.*coco: the data on {platform.node()} .*{digest[:12]}"):
            run(config, LocalRuntime(folder, torch.device("cpu")), data_digest=digest)


def test_data_paths_are_absolute_once_a_config_is_read(
    on_coco: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    on_coco["data"] |= {"root": "coco", "cache_dir": "~/cache"}
    data = parse(Config, on_coco).data
    assert data.root == str(tmp_path / "coco") and data.cache_dir == str(tmp_path / "home" / "cache")
