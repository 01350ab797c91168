"""Checkpoints are whole or not there, verified, and hold nothing that runs."""

import errno
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fcos import files
from fcos.run_folder import BestEvaluation
from fcos.training import checkpoint
from fcos.training.best import BEST, read_best, write_best
from fcos.training.checkpoint import CheckpointError, CheckpointReadError


def write(folder: Path, step: int, model: nn.Module | None = None, ema: nn.Module | None = None) -> Path:
    return checkpoint.save(
        folder,
        step=step,
        config={"seed": 3},
        classes=("disc", "ring"),
        model=model or nn.Linear(2, 3),
        ema=ema,
        state={"optimizer": {"lr": 0.1}, "generators": [torch.get_rng_state()]},
    )


def test_everything_comes_back(tmp_path: Path) -> None:
    model, ema = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last), nn.Conv2d(3, 4, 3)
    found = checkpoint.load(write(tmp_path, 12, model, ema))
    assert (found.step, found.config, found.classes) == (12, {"seed": 3}, ("disc", "ring"))
    torch.testing.assert_close(found.model["weight"], model.weight.detach())
    torch.testing.assert_close(found.weights["weight"], ema.weight.detach())
    torch.testing.assert_close(found.state["generators"][0], torch.get_rng_state())


def test_the_newest_is_found_and_older_ones_are_pruned(tmp_path: Path) -> None:
    for step in (5, 100, 20):
        write(tmp_path, step)
    found, problems = checkpoint.latest(tmp_path)
    assert found is not None and found.step == 100 and problems == []
    checkpoint.prune(tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_00000020", "step_00000100"]


def test_the_best_stays_beside_the_newest(tmp_path: Path) -> None:
    for step in (5, 100, 20, 60):
        write(tmp_path, step)
    checkpoint.prune(tmp_path, keep=1, best=20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_00000020", "step_00000100"]


def test_which_is_the_best_is_known_as_long_as_it_is_there_and_behind_us(tmp_path: Path) -> None:
    best = BestEvaluation(metric="val/AP", step=20, value=0.5, checkpoint="checkpoints/step_00000020")
    write_best(tmp_path, best)
    assert read_best(tmp_path, "val/AP", 20) is None
    path = write(tmp_path, 20)
    assert read_best(tmp_path, "val/AP", 20) == best
    assert read_best(tmp_path, "val/AP", 19) is None
    assert read_best(tmp_path, "val/AP50", 20) is None
    found, _ = checkpoint.latest(tmp_path)
    assert found is not None and found.path == path
    (tmp_path / BEST).write_text("{")
    assert read_best(tmp_path, "val/AP", 20) is None


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "no manifest", "manifest"])
def test_a_damaged_newest_falls_back_to_the_last_good_one(tmp_path: Path, damage: str) -> None:
    write(tmp_path, 1)
    newest = write(tmp_path, 2)
    weights = newest / "model.safetensors"
    content = bytearray(weights.read_bytes())
    match damage:
        case "truncate":
            weights.write_bytes(content[:-5])
        case "flip":
            content[-1] ^= 1
            weights.write_bytes(content)
        case "remove":
            weights.unlink()
        case "no manifest":
            (newest / "manifest.json").unlink()
        case "manifest":
            (newest / "manifest.json").write_text("{")
    found, problems = checkpoint.latest(tmp_path)
    assert found is not None and found.step == 1
    assert len(problems) == 1 and "step_00000002" in problems[0]


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    class Unwritable:
        def __reduce__(self) -> str:
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        checkpoint.save(
            tmp_path,
            step=1,
            config={},
            classes=(),
            model=nn.Linear(1, 1),
            ema=None,
            state={"bad": Unwritable()},
        )
    assert list(tmp_path.iterdir()) == []


def test_a_state_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, 1)
    marker = tmp_path / "ran"

    class Payload:
        def __reduce__(self) -> tuple:
            return Path.touch, (marker,)

    torch.save({"optimizer": Payload()}, path / "state.pt")
    manifest = checkpoint.json.loads((path / "manifest.json").read_text())
    manifest["state.pt"] = checkpoint._sha256(path / "state.pt")
    (path / "manifest.json").write_text(checkpoint.json.dumps(manifest))
    with pytest.raises((pickle.UnpicklingError, CheckpointError)):
        checkpoint.load(path)
    assert not marker.exists()


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere"):
        checkpoint.load(tmp_path / "nowhere")
    assert checkpoint.latest(tmp_path / "nowhere") == (None, [])


def test_the_weights_may_be_read_by_whom_the_other_files_may(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        path = write(tmp_path, 1, ema=nn.Linear(2, 3))
    finally:
        os.umask(before)
    assert {file.name: file.stat().st_mode & 0o777 for file in path.iterdir()} == dict.fromkeys(
        ("model.safetensors", "ema.safetensors", "state.pt", "config.json", "manifest.json"), 0o644
    )


@pytest.mark.parametrize("dangling", [True, False])
def test_a_checkpoint_that_is_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path: Path, dangling: bool) -> None:
    theirs = write(tmp_path / "theirs", 7)
    kept = {file.name: file.read_bytes() for file in theirs.iterdir()}
    link = checkpoint.folder_of(tmp_path / "ours", 7)
    link.parent.mkdir()
    link.symlink_to(tmp_path / "gone" if dangling else theirs, target_is_directory=True)
    write(link.parent, 7)
    assert not link.is_symlink() and checkpoint.load(link).step == 7
    assert {file.name: file.read_bytes() for file in theirs.iterdir()} == kept
    assert not (tmp_path / "gone").exists()


def test_links_are_pruned_without_what_they_lead_to(tmp_path: Path) -> None:
    theirs = write(tmp_path / "theirs", 1)
    ours = tmp_path / "ours"
    write(ours, 2)
    for step, target in ((1, theirs), (0, tmp_path / "gone")):
        checkpoint.folder_of(ours, step).symlink_to(target, target_is_directory=True)
    checkpoint.prune(ours, keep=1)
    assert [path.name for path in ours.iterdir()] == ["step_00000002"]
    assert checkpoint.load(theirs).step == 1


def refuse(monkeypatch: pytest.MonkeyPatch, method: str, name: str, number: int) -> None:
    """Lets a method of one path fail, whoever runs the test."""
    whole = getattr(Path, method)

    def call(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == name:
            raise OSError(number, os.strerror(number), str(path))
        return whole(path, *arguments, **options)

    monkeypatch.setattr(Path, method, call)
    monkeypatch.setattr(files, "PAUSES", (0.0,))


def test_what_may_not_be_read_is_named_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older, newest = write(tmp_path, 1), write(tmp_path, 2)
    told = r"step_00000002.model\.safetensors: cannot be read \(Permission denied\)"
    with monkeypatch.context() as patch:
        whole = Path.open

        def call(path: Path, *arguments: Any, **options: Any) -> Any:
            if path == newest / "model.safetensors":
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return whole(path, *arguments, **options)

        patch.setattr(Path, "open", call)
        for read in (checkpoint.verify, checkpoint.load):
            with pytest.raises(CheckpointError, match=told):
                read(newest)
        found, problems = checkpoint.latest(tmp_path)
        assert found is not None and found.path == older and len(problems) == 1
        assert checkpoint.newest_step(tmp_path) == 1
    refuse(monkeypatch, "open", "manifest.json", errno.EACCES)
    with pytest.raises(CheckpointError, match="Permission denied"):
        checkpoint.digest(newest)


def test_a_folder_that_may_not_be_looked_into_is_not_taken_for_an_empty_one(tmp_path: Path, monkeypatch) -> None:
    write(tmp_path / "closed", 1)
    refuse(monkeypatch, "iterdir", "closed", errno.EACCES)
    with pytest.raises(CheckpointError, match=r"closed: cannot be read \(Permission denied\)"):
        checkpoint.latest(tmp_path / "closed")
    assert checkpoint.newest_step(tmp_path / "closed") == 0


def test_a_disk_that_fails_for_a_moment_damages_no_checkpoint(tmp_path: Path, monkeypatch) -> None:
    path = write(tmp_path, 1)
    refuse(monkeypatch, "open", "state.pt", errno.EIO)
    with pytest.raises(CheckpointReadError, match=r"state\.pt: cannot be read"):
        checkpoint.load(path)


def test_other_names_are_no_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "step_copy").mkdir()
    write(tmp_path, 3)
    assert checkpoint.newest_step(tmp_path) == 3
    checkpoint.prune(tmp_path, keep=1)
    assert (tmp_path / "step_copy").is_dir()
