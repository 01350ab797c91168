"""Checkpoints are written atomically, verified, and never run code."""

import errno
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fcos.storage import checkpoint_folder, files
from fcos.storage.checkpoint_folder import CheckpointError, CheckpointReadError
from fcos.storage.run_folder import BestEvaluation
from fcos.training import checkpoint
from fcos.training.best import BEST, read_best, write_best

CONFIG = {"seed": 3, "schedule": {"ema": 0.9}}


def write(
    folder: Path, step: int, model: nn.Module | None = None, averages: dict[float, nn.Module] | None = None
) -> Path:
    return checkpoint.save(
        folder,
        step=step,
        config=CONFIG,
        classes=("disc", "ring"),
        model=model or nn.Linear(2, 3),
        averages=averages or {},
        state={"optimizer": {"lr": 0.1}, "generators": [torch.get_rng_state()]},
    )


def test_loading_returns_what_was_saved(tmp_path: Path) -> None:
    model, own, other = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last), nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
    path = write(tmp_path, 12, model, {0.9: own, 0.999: other})
    loaded = checkpoint.load(path)
    assert (loaded.step, loaded.config, loaded.classes) == (12, CONFIG, ("disc", "ring"))
    torch.testing.assert_close(loaded.model["weight"], model.weight.detach())
    torch.testing.assert_close(loaded.weights["weight"], own.weight.detach())
    assert checkpoint_folder.averages_in(path) == {0.9, 0.999}
    for decay, module in ((None, model), (0.9, own), (0.999, other)):
        torch.testing.assert_close(loaded.weights_of(decay)["weight"], module.weight.detach())
    with pytest.raises(CheckpointError, match=r"no moving average of schedule.ema=0.5; there are null, 0.9, 0.999"):
        loaded.weights_of(0.5)
    torch.testing.assert_close(loaded.state["generators"][0], torch.get_rng_state())


def test_a_checkpoint_without_a_needed_average_is_passed_over_and_goes_with_the_next_save(tmp_path: Path) -> None:
    write(tmp_path, 3, averages={0.9: nn.Linear(2, 3)})
    write(tmp_path, 6)
    found, (problem,) = checkpoint.latest(tmp_path, [0.9])
    assert found is not None and found.step == 3 == checkpoint_folder.newest_step(tmp_path, [0.9])
    assert "holds no moving average of schedule.ema=0.9" in problem
    assert checkpoint_folder.newest_step(tmp_path) == 6 and checkpoint_folder.newest_step(tmp_path, [0.5]) == 0
    write(tmp_path, 4)
    checkpoint_folder.prune(tmp_path, keep=1, newest=4)
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000004"]


def test_latest_is_the_newest_and_prune_removes_older_ones(tmp_path: Path) -> None:
    for step in (5, 100, 20):
        write(tmp_path, step)
    loaded, problems = checkpoint.latest(tmp_path)
    assert loaded is not None and loaded.step == 100 and problems == []
    checkpoint_folder.prune(tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_00000020", "step_00000100"]


def test_prune_keeps_the_best_and_the_newest(tmp_path: Path) -> None:
    for step in (5, 100, 20, 60):
        write(tmp_path, step)
    checkpoint_folder.prune(tmp_path, keep=1, best=20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_00000020", "step_00000100"]


def test_the_best_is_read_while_its_checkpoint_exists_and_is_not_ahead(tmp_path: Path) -> None:
    best = BestEvaluation(metric="val/AP", step=20, value=0.5, checkpoint="checkpoints/step_00000020")
    write_best(tmp_path, best)
    assert read_best(tmp_path, "val/AP", 20) is None
    path = write(tmp_path, 20)
    assert read_best(tmp_path, "val/AP", 20) == best
    assert read_best(tmp_path, "val/AP", 19) is None
    assert read_best(tmp_path, "val/AP50", 20) is None
    loaded, _ = checkpoint.latest(tmp_path)
    assert loaded is not None and loaded.path == path
    (tmp_path / BEST).write_text("{")
    assert read_best(tmp_path, "val/AP", 20) is None


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "no manifest", "manifest"])
def test_latest_falls_back_from_a_damaged_checkpoint(tmp_path: Path, damage: str) -> None:
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
    loaded, problems = checkpoint.latest(tmp_path)
    assert loaded is not None and loaded.step == 1
    assert len(problems) == 1 and "step_00000002" in problems[0]


def test_a_failed_save_leaves_nothing_behind(tmp_path: Path) -> None:
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
            averages={},
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
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["state.pt"] = checkpoint_folder.sha256_of(path / "state.pt")
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises((pickle.UnpicklingError, CheckpointError)):
        checkpoint.load(path)
    assert not marker.exists()


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere"):
        checkpoint.load(tmp_path / "nowhere")
    assert checkpoint.latest(tmp_path / "nowhere") == (None, [])


def test_all_files_have_the_mode_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        path = write(tmp_path, 1, averages={0.9: nn.Linear(2, 3)})
    finally:
        os.umask(before)
    assert {file.name: file.stat().st_mode & 0o777 for file in path.iterdir()} == dict.fromkeys(
        ("model.safetensors", "ema.safetensors", "state.pt", "config.json", "manifest.json"), 0o644
    )


@pytest.mark.parametrize("dangling", [True, False])
def test_saving_over_a_link_keeps_its_target(tmp_path: Path, dangling: bool) -> None:
    target_checkpoint = write(tmp_path / "target", 7)
    contents = {file.name: file.read_bytes() for file in target_checkpoint.iterdir()}
    link = checkpoint_folder.folder_of(tmp_path / "ours", 7)
    link.parent.mkdir()
    link.symlink_to(tmp_path / "gone" if dangling else target_checkpoint, target_is_directory=True)
    write(link.parent, 7)
    assert not link.is_symlink() and checkpoint.load(link).step == 7
    assert {file.name: file.read_bytes() for file in target_checkpoint.iterdir()} == contents
    assert not (tmp_path / "gone").exists()


def test_pruning_links_keeps_their_targets(tmp_path: Path) -> None:
    target_checkpoint = write(tmp_path / "target", 1)
    folder = tmp_path / "ours"
    write(folder, 2)
    for step, target in ((1, target_checkpoint), (0, tmp_path / "gone")):
        checkpoint_folder.folder_of(folder, step).symlink_to(target, target_is_directory=True)
    checkpoint_folder.prune(folder, keep=1)
    assert [path.name for path in folder.iterdir()] == ["step_00000002"]
    assert checkpoint.load(target_checkpoint).step == 1


def refuse(monkeypatch: pytest.MonkeyPatch, method: str, name: str, number: int) -> None:
    """Make a method of paths of this name fail with an errno."""
    original = getattr(Path, method)

    def call(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == name:
            raise OSError(number, os.strerror(number), str(path))
        return original(path, *arguments, **options)

    monkeypatch.setattr(Path, method, call)
    monkeypatch.setattr(files, "PAUSES", (0.0,))


def test_unreadable_files_are_named_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older, newest = write(tmp_path, 1), write(tmp_path, 2)
    message = r"step_00000002.model\.safetensors: cannot be read \(Permission denied\)"
    with monkeypatch.context() as patch:
        original = Path.open

        def call(path: Path, *arguments: Any, **options: Any) -> Any:
            if path == newest / "model.safetensors":
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return original(path, *arguments, **options)

        patch.setattr(Path, "open", call)
        for read in (checkpoint_folder.verify, checkpoint.load):
            with pytest.raises(CheckpointError, match=message):
                read(newest)
        loaded, problems = checkpoint.latest(tmp_path)
        assert loaded is not None and loaded.path == older and len(problems) == 1
        assert checkpoint_folder.newest_step(tmp_path) == 1
    refuse(monkeypatch, "open", "manifest.json", errno.EACCES)
    with pytest.raises(CheckpointError, match="Permission denied"):
        checkpoint_folder.digest(newest)


def test_a_folder_without_read_permission_is_not_empty(tmp_path: Path, monkeypatch) -> None:
    write(tmp_path / "closed", 1)
    refuse(monkeypatch, "iterdir", "closed", errno.EACCES)
    with pytest.raises(CheckpointError, match=r"closed: cannot be read \(Permission denied\)"):
        checkpoint.latest(tmp_path / "closed")
    assert checkpoint_folder.newest_step(tmp_path / "closed") == 0


def test_a_failing_disk_is_not_a_damaged_checkpoint(tmp_path: Path, monkeypatch) -> None:
    path = write(tmp_path, 1)
    refuse(monkeypatch, "open", "state.pt", errno.EIO)
    with pytest.raises(CheckpointReadError, match=r"state\.pt: cannot be read"):
        checkpoint.load(path)


def test_folders_with_other_names_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "step_copy").mkdir()
    write(tmp_path, 3)
    assert checkpoint_folder.newest_step(tmp_path) == 3
    checkpoint_folder.prune(tmp_path, keep=1)
    assert (tmp_path / "step_copy").is_dir()
