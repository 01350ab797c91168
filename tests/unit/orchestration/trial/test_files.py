"""What a training leaves behind is read back whole, whatever killed it."""

import errno
import json
from pathlib import Path

import pytest

from fcos import runtime
from fcos.errors import ConfigError, ReadError, SharedMemoryError
from fcos.training.checkpoint import CheckpointError, CheckpointReadError
from orchestration.trial import files
from orchestration.trial.worker import BudgetUsedUp, DiskFull, is_final


def test_points_come_back_and_the_last_attempt_wins(tmp_path: Path) -> None:
    files.append_points(tmp_path, [[None, "train/loss", 1, 2.0], ["a", "val/AP", 1, 0.5]])
    files.append_points(tmp_path, [[None, "train/loss", 1, 3.0]])
    assert files.read_points(tmp_path) == {(None, "train/loss", 1): 3.0, ("a", "val/AP", 1): 0.5}


def test_a_line_cut_short_by_a_kill_spoils_no_other(tmp_path: Path) -> None:
    files.append_points(tmp_path, [[None, "train/loss", 1, 2.0], [None, "train/loss", 2, 2.5]])
    path = tmp_path / files.POINTS
    path.write_text(path.read_text()[:-8])
    files.append_points(tmp_path, [[None, "train/loss", 3, 1.0]])
    assert files.read_points(tmp_path) == {
        (None, "train/loss", 1): 2.0,
        (None, "train/loss", 3): 1.0,
    }


def test_no_points_yet(tmp_path: Path) -> None:
    assert files.read_points(tmp_path) == {}


def test_a_summary_counts_for_its_identity_and_arms_only(tmp_path: Path) -> None:
    summary = {"metrics": {"a": {"val/AP": 0.5}}}
    assert files.read_summary(tmp_path, "x", ["a"]) is None
    files.write_summary(tmp_path, "x", summary)
    assert files.read_summary(tmp_path, "x", ["a"]) == summary
    assert files.read_summary(tmp_path, "y", ["a"]) is None
    assert files.read_summary(tmp_path, "x", ["a", "b"]) is None
    (tmp_path / files.SUMMARY).write_text('{"identity": "x"')
    assert files.read_summary(tmp_path, "x", ["a"]) is None
    assert [path.name for path in tmp_path.iterdir()] == [files.SUMMARY]


def test_a_training_that_was_stopped_early_is_a_result_only_where_that_was_meant(tmp_path: Path) -> None:
    files.write_summary(tmp_path, "x", {"pruned": 40, "metrics": {"a": {"val/AP": 0.5}}})
    assert files.read_summary(tmp_path, "x", ["a"]) is None
    found = files.read_summary(tmp_path, "x", ["a"], or_pruned=True)
    assert found is not None and found["pruned"] == 40


def test_the_file_that_asks_is_the_one_that_the_training_looks_for() -> None:
    assert files.STOP == runtime.STOP


def test_the_first_failure_is_the_reason(tmp_path: Path) -> None:
    files.write_failure(tmp_path, ConfigError("data.root=/x: no such folder"), final=True)
    files.write_failure(tmp_path, RuntimeError("connection closed by peer"), final=False)
    assert files.reason_of(tmp_path) == "data.root=/x: no such folder"
    files.clear_failure(tmp_path)
    files.write_failure(tmp_path, KeyError("boom"), final=False)
    assert files.reason_of(tmp_path) == f"KeyError: 'boom'\nlog: {tmp_path / files.LOG}"


def test_a_death_without_a_word_points_at_the_log(tmp_path: Path) -> None:
    assert str(tmp_path / files.LOG) in files.reason_of(tmp_path)


def test_fcos_own_errors_end_a_training_for_good() -> None:
    assert is_final(ConfigError("x"))
    assert not is_final(ValueError("x"))
    assert not is_final(OSError("disk"))


def test_errors_of_fcos_that_may_pass_do_not() -> None:
    for error in (ReadError("a disk"), SharedMemoryError("/dev/shm"), CheckpointReadError("a disk")):
        assert not is_final(error)
    assert is_final(CheckpointError("damaged"))


def test_json_is_replaced_whole(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"a": 1})
    files.write_json(tmp_path / "a.json", {"a": 2})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 2}
    assert len(list(tmp_path.iterdir())) == 1


def test_what_ends_for_want_of_hours_or_space_is_no_failure(tmp_path: Path) -> None:
    folder = tmp_path / "sweep" / "trials" / "a"
    folder.mkdir(parents=True)
    assert not files.is_interrupted(folder)
    for error, interrupted in ((DiskFull("no space"), True), (BudgetUsedUp("at step 3"), True), (OSError("x"), False)):
        files.write_failure(folder, error, final=True)
        assert files.is_interrupted(folder) == interrupted
        files.clear_failure(folder)
    files.hold_back(tmp_path / "sweep")
    assert files.is_interrupted(folder)
    files.let_go(tmp_path / "sweep")
    assert not files.is_interrupted(folder)


def test_a_full_disk_is_known_by_what_an_error_came_from() -> None:
    full = RuntimeError("unexpected pos 64 vs 0")
    full.__context__ = OSError(errno.ENOSPC, "No space left on device")
    assert files.is_no_space(full)
    assert not files.is_no_space(OSError(errno.EACCES, "Permission denied"))


def test_a_failure_that_cannot_be_recorded_raises_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.json, "dump", refuse)
    files.write_failure(tmp_path, ValueError("why"), final=False)
    assert files.read_failure(tmp_path) is None
