"""Sweeps of an output folder: found by their files, others named in notes, misspelt names with near matches."""

import os
from pathlib import Path

import pytest

from fcos.errors import ConfigError
from orchestration.monitor import find_sweeps as module
from orchestration.monitor.find_sweeps import MOST_NAMES, find_sweep, find_sweeps
from tests.helpers.status_folders import make_folder, write_plan


def test_a_sweep_is_found_by_any_of_its_files(tmp_path: Path) -> None:
    write_plan(tmp_path / "planned", 0)
    make_folder(tmp_path / "locked")
    (tmp_path / "mlflow.db").touch()
    for name in ("mlartifacts", "lr_range", "paper_v1", ".import", "photos"):
        (tmp_path / name).mkdir()
    found = find_sweeps(tmp_path)
    assert [folder.name for folder in found.folders] == ["locked", "planned"]
    assert found.notes == ("1 folder holds no sweep: photos",)


def test_a_note_lists_some_names_and_counts_the_others(tmp_path: Path) -> None:
    for number in range(MOST_NAMES + 2):
        (tmp_path / f"f{number}").mkdir()
    (note,) = find_sweeps(tmp_path).notes
    assert note.startswith("7 folders hold no sweep: f0, ") and note.endswith("f4 and 2 more")


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()

    def refuse(folder: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(module, "is_sweep", refuse)
    assert find_sweeps(tmp_path).notes == ("1 folder cannot be read: closed (Permission denied)",)
    with pytest.raises(ConfigError, match=r"NAME=closed: its folder cannot be read \(Permission denied\); have its"):
        find_sweep(tmp_path, "closed")


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_closed_folder_is_named_by_the_operating_systems_reason(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    assert find_sweeps(tmp_path).notes == ("1 folder cannot be read: closed (Permission denied)",)


def test_a_name_or_a_path_means_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(tmp_path / "out" / "shapes")
    assert find_sweep(tmp_path / "out", "shapes") == folder
    assert find_sweep(tmp_path / "elsewhere", str(folder)) == folder
    monkeypatch.chdir(tmp_path)
    assert find_sweep(tmp_path / "elsewhere", "out/shapes") == folder


def test_a_misspelt_name_has_near_matches(tmp_path: Path) -> None:
    make_folder(tmp_path / "ablation_centerness")
    make_folder(tmp_path / "other")
    with pytest.raises(ConfigError, match=r"NAME=ablation_centernes: .*; did you mean ablation_centerness\?"):
        find_sweep(tmp_path, "ablation_centernes")
    with pytest.raises(ConfigError, match=r"has ablation_centerness, other; --output=FOLDER looks elsewhere"):
        find_sweep(tmp_path, "zzz")


@pytest.mark.parametrize(("name", "rule"), [("absent", "there is no such folder"), ("file", "this is a file")])
def test_an_output_folder_that_is_none_is_refused(tmp_path: Path, name: str, rule: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=f"--output=.*{name}: {rule}; give the output folder"):
        find_sweeps(tmp_path / name)
