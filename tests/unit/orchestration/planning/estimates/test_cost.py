"""What a plan will cost, and from what that is known."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from fcos.config.parse import flatten
from fcos.storage.store_conventions import param_text
from orchestration.cluster.resources import Demand
from orchestration.experiment.trials import Trial
from orchestration.planning.estimates.cost import (
    PROBE_STEPS,
    Pace,
    PastPaces,
    make_estimate,
    short_config,
    speed_key,
    wall_seconds,
)
from orchestration.planning.make_plan import make_plan
from orchestration.tracking.history import PastRun
from tests.helpers.experiments.composed import composed

NEED = Demand(workers=2, cpus=1, gpus=1, device="cuda")


def trial(*arguments: str) -> Trial:
    words = ["+experiment=ablation_centerness", "experiment.seeds=[0]", *arguments]
    return make_plan(composed(*words), lambda config: ("d", ())).trials[1]


def run(of: Trial, seconds: float, steps: int = 100, hardware: str = "box", resources: str = "1 x 1") -> PastRun:
    tags = {
        "fcos.hardware": hardware,
        "fcos.resources": resources,
        "fcos.seconds": str(seconds),
        "fcos.steps_timed": str(steps),
        "fcos.sweep": "before",
    }
    params = {key: param_text(value) for key, value in flatten(of.values).items()}
    return PastRun(f"{seconds}run", tags, params, {})


def pace_of(mine: Trial, runs: Sequence[PastRun]) -> Pace | None:
    return PastPaces(runs, "box", "1 x 1").of(mine)


def test_the_median_of_like_runs_whatever_their_length_and_rate() -> None:
    others = [trial("schedule.steps=600"), trial("schedule.lr=0.1"), trial("seed=0")]
    runs = [run(other, seconds) for other, seconds in zip(others, (10.0, 30.0, 20.0), strict=True)]
    pace = pace_of(trial(), runs)
    assert pace is not None and pace.seconds == pytest.approx(0.2)
    assert pace.source.startswith(
        "3 finished runs of the same model and schedule on this hardware, the newest run 10.0"
    )


def test_a_similar_model_stands_in_and_another_does_not() -> None:
    similar = run(trial("model.loss.regression=iou"), 10.0)
    pace = pace_of(trial(), [similar])
    assert pace is not None and "a similar model" in pace.source
    assert pace_of(trial(), [run(trial("schedule.batch_size=4"), 10.0)]) is None


def test_other_hardware_shares_and_untimed_runs_do_not_count() -> None:
    mine = trial()
    runs = [run(mine, 1.0, hardware="other"), run(mine, 1.0, resources="2 x 1"), run(mine, 1.0, steps=0)]
    assert pace_of(mine, runs) is None


@pytest.mark.parametrize("edited", [{"fcos.seconds": "soon"}, {"fcos.steps_timed": "many"}, {"fcos.seconds": "inf"}])
def test_a_run_whose_times_were_edited_is_passed_over(edited: dict[str, str]) -> None:
    mine = trial()
    before = run(mine, 10.0)
    changed = replace(before, tags={**before.tags, **edited})
    pace = pace_of(mine, [changed, run(mine, 20.0)])
    assert pace is not None and pace.seconds == pytest.approx(0.2)
    assert pace_of(mine, [changed]) is None


def test_trainings_fill_the_slots_as_they_come_free() -> None:
    assert wall_seconds([3.0, 1.0, 1.0, 1.0], max_concurrent=2) == 3.0
    assert wall_seconds([1.0, 1.0, 1.0], max_concurrent=1) == 3.0
    assert wall_seconds([], max_concurrent=2) == 0.0


def test_hours_count_every_worker_and_the_source_is_named() -> None:
    paces = {"a": Pace(3.6, "two runs"), "b": Pace(3.6, "two runs"), "c": None}
    lines = make_estimate(paces, {"a": 1000, "b": 500, "c": 1}, max_concurrent=2, resources=NEED).lines()
    assert lines == [
        "estimate: 1:00:00 of wall time, 3 CPU-hours and 3 GPU-hours, without start-up",
        "  from two runs",
        "no finished run is like 1 of the 3 trainings that run on this hardware; probe=true times a few steps of them",
    ]


def test_a_probe_is_a_valid_short_training_and_shared_by_like_ones() -> None:
    long = trial("schedule.decay=step", "schedule.milestones=[200,300]")
    config = short_config(long, workers=2)
    assert (config.schedule.steps, config.schedule.batch_size, config.data.limit_val) == (PROBE_STEPS, 4, 1)
    assert speed_key(long) == speed_key(trial())
    assert speed_key(long) != speed_key(trial("model.fpn.channels=16"))


def test_runs_are_gone_through_once_for_trainings_with_the_same_keys() -> None:
    mine, other = trial(), trial("model.loss.regression=iou")

    class Params(dict[str, str]):
        reads = 0

        def get(self, key: str, default: Any = None) -> Any:
            Params.reads += 1
            return super().get(key, default)

    runs = [replace(each, params=Params(each.params)) for each in (run(mine, 10.0), run(other, 30.0))]
    past = PastPaces(runs, "box", "1 x 1")
    expected = [pace_of(each, [run(mine, 10.0), run(other, 30.0)]) for each in (mine, other)]
    assert [past.of(each) for each in (mine, other)] == expected
    reads = Params.reads
    assert [past.of(each) for each in (mine, other) * 10] == expected * 10
    assert Params.reads == reads > 0
