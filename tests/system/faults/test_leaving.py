"""A run whose machine is taken away leaves with a checkpoint; fewer workers than planned do the same work."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from fcos.config.evaluation import EvaluationSettings
from fcos.config.parse import parse
from fcos.config.run import Config
from fcos.data.loader import eval_batches
from fcos.runtime import LocalRuntime
from fcos.storage import checkpoint_folder
from fcos.storage.run_folder import MetricPoint, ProgressRecord, RunSummary
from fcos.training import checkpoint
from fcos.training.interruption import Preempted
from fcos.training_run import run

CPU = torch.device("cpu")


def losses(reported: list[ProgressRecord]) -> list[tuple[int, float]]:
    return [(step, value) for record in reported for _, key, step, value in record.points if key == "train/loss"]


def test_a_run_whose_machine_is_taken_away_saves_leaves_and_goes_on(
    tiny_values: dict[str, Any], tmp_path: Path
) -> None:
    config = parse(Config, tiny_values)
    whole: list[ProgressRecord] = []
    expected = run(config, LocalRuntime(tmp_path / "whole", CPU, whole.append))
    # Nothing is reported after step 1.
    with pytest.raises(Preempted, match="saved at step 1 "):
        run(config, LocalRuntime(tmp_path / "left", CPU, preemption_pending=lambda: True))
    reported: list[ProgressRecord] = []
    summary = run(config, LocalRuntime(tmp_path / "left", CPU, reported.append))
    assert summary.resumed_from == 1 and summary.workers == [[0, 1]]
    assert summary.metrics == expected.metrics
    assert [step for step, _ in losses(reported)] == [step for step, _ in losses(whole)]


def reported_points(records: list[ProgressRecord]) -> list[MetricPoint]:
    """All points but speeds, sorted."""
    points = [point for record in records for point in record.points if point.key != "train/images_per_second"]
    return sorted(points, key=lambda point: (point.step, point.arm or "", point.key))


def check_equal(one: Path, other: Path) -> None:
    """Two checkpoints are the same to the last digit, but for what it cost to get there."""
    states = [checkpoint.load(path) for path in (one, other)]
    for key, value in states[0].model.items():
        torch.testing.assert_close(states[1].model[key], value, rtol=0, atol=0)
    for key in ("losses", "generators", "unevaluated"):
        torch.testing.assert_close(states[1].state[key], states[0].state[key], rtol=0, atol=0)


class Notice:
    """A notice that comes when so many evaluations of weights have begun."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.at = 0, math.inf
        monkeypatch.setattr("fcos.training_run.eval_batches", self._begin)

    def _begin(self, *arguments: Any, **keywords: Any) -> Any:
        self.begun += 1
        return eval_batches(*arguments, **keywords)

    def is_there(self) -> bool:
        return self.begun >= self.at


@pytest.fixture
def notice(monkeypatch: pytest.MonkeyPatch) -> Notice:
    return Notice(monkeypatch)


@pytest.mark.parametrize("step", [3, 6])
def test_an_evaluation_that_a_notice_interrupts_is_done_anew_with_the_same_numbers(
    tiny_values: dict[str, Any], tmp_path: Path, notice: Notice, step: int
) -> None:
    # Six batches, and ties that are drawn: from the generator that the training draws from as well.
    tiny_values["data"]["synthetic"]["val_images"] = 48
    tiny_values["model"]["assignment"]["tie_break"] = "random"
    tiny_values["schedule"] |= {"best_metric": "val/AP", "checkpoint_every": 4, "log_every": 1}
    config = parse(Config, tiny_values)
    arms = {"weights": EvaluationSettings.of(config), "average": EvaluationSettings.of(config)}
    arms["average"] = arms["average"].model_copy(update={"ema": 0.9})
    whole: list[ProgressRecord] = []
    reported: list[ProgressRecord] = []

    def go_on() -> RunSummary:
        runtime = LocalRuntime(tmp_path / "left", CPU, reported.append, preemption_pending=notice.is_there)
        return run(config, runtime, arms, forks=[3])

    expected = run(config, LocalRuntime(tmp_path / "whole", CPU, whole.append), arms, forks=[3])
    # In the second of the two evaluations after that step; then, elsewhere, in the first one.
    for notice.begun, notice.at in ((0, 2 * step // 3), (0, 1)):
        with pytest.raises(Preempted, match=f"saved at step {step}, before its evaluation"):
            go_on()
        assert not [point for point in reported_points(reported) if point.arm is not None and point.step == step]
        assert checkpoint_folder.newest_step(tmp_path / "left" / "checkpoints", ()) == step
    notice.at = math.inf
    summary = go_on()
    assert reported_points(reported) == reported_points(whole)
    assert summary.resumed_from == step
    assert (summary.metrics, summary.best) == (expected.metrics, expected.best)
    for kept in ("checkpoints/step_00000006", "forks/step_00000003"):
        check_equal(tmp_path / "left" / kept, tmp_path / "whole" / kept)


def test_a_longer_training_that_begins_from_there_begins_with_the_evaluation(
    tiny_values: dict[str, Any], tmp_path: Path, notice: Notice
) -> None:
    notice.at = 1
    with pytest.raises(Preempted, match="saved at step 3, before its evaluation"):
        run(parse(Config, tiny_values), LocalRuntime(tmp_path, CPU, preemption_pending=notice.is_there))
    tiny_values["schedule"]["steps"] = 9
    reported: list[ProgressRecord] = []
    summary = run(parse(Config, tiny_values), LocalRuntime(tmp_path, CPU, reported.append))
    points = reported_points(reported)
    assert summary.resumed_from == 3
    assert sorted({point.step for point in points if point.key == "val/AP"}) == [3, 6, 9]
    assert min(point.step for point in points if point.key == "train/loss") > 3


def test_one_worker_of_two_takes_the_whole_batch_in_two_pieces(tiny_values: dict[str, Any], tmp_path: Path) -> None:
    # Batch statistics are a piece's own, so the backbone's are frozen; SGD shows errors that Adam would hide.
    tiny_values["model"]["backbone"]["norm"] = "frozen_bn"
    tiny_values["schedule"] |= {"optimizer": "sgd", "lr": 0.01}
    config = parse(Config, tiny_values)
    whole: list[ProgressRecord] = []
    pieces: list[ProgressRecord] = []
    run(config, LocalRuntime(tmp_path / "whole", CPU, whole.append))
    run(config, LocalRuntime(tmp_path / "pieces", CPU, pieces.append, planned_size=2))
    assert losses(pieces) != losses(whole), "cut in pieces the sums come in another order"
    expected: list[Any] = [(step, pytest.approx(loss, rel=1e-5)) for step, loss in losses(whole)]
    assert losses(pieces) == expected


def test_a_number_of_workers_that_changed_is_reported(tiny_values: dict[str, Any], tmp_path: Path) -> None:
    config = parse(Config, tiny_values)

    def cut_off(record: ProgressRecord) -> None:
        if record.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, LocalRuntime(tmp_path, CPU, cut_off))
    path = checkpoint_folder.folder_of(tmp_path / "checkpoints", 3)
    before = checkpoint.load(path)
    # As two workers would have left it.
    state = {**before.state, "workers": [[0, 2]], "generators": before.state["generators"] * 2}
    _replace_state(path, state)
    summary = run(config, LocalRuntime(tmp_path, CPU))
    assert summary.workers == [[0, 2], [3, 1]]
    assert list(summary.notes) == [
        "number of workers: 2, from step 4 on 1; batch size and learning rate stayed as they were, but batch norms "
        "gather statistics on each worker, so that the number matters"
    ]


def _replace_state(path: Path, state: dict[str, Any]) -> None:
    torch.save(state, path / "state.pt")
    manifest = json.loads((path / checkpoint_folder.MANIFEST).read_text())
    manifest["state.pt"] = hashlib.sha256((path / "state.pt").read_bytes()).hexdigest()
    (path / checkpoint_folder.MANIFEST).write_text(json.dumps(manifest))
