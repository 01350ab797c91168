"""Checkpoints are whole or not there, verified, and hold nothing that runs."""

import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from fcos import checkpoint
from fcos.best import BEST, Best, read_best, write_best
from fcos.checkpoint import CheckpointError


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
    best = Best("val/AP", 20, 0.5)
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
