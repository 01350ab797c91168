"""A search's front and confirmation: points that may be compared, and seeds in the order in which they began."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from analysis.reader.sweep import Distribution, Experiment, Search, Sweep, Trial
from analysis.sections.search.best_settings import format_best_settings
from analysis.sections.search.confirmation import Confirmation, build_confirmation
from analysis.sections.search.content import describe_confirmation
from analysis.sections.search.front import build_front, note_incomplete
from fcos.statistics.holm import ArmTest, PairedSample, make_arm_tests
from tests.helpers.present import present

START = datetime(2026, 1, 1, tzinfo=UTC)
OBJECTIVES = ("val/AP", "val/AP50")


def make_sweep(
    results: Mapping[str, Mapping[int, float | None]], seeds: list[int], winner: str | None = None
) -> tuple[Sweep, Search]:
    """Return a sweep whose trainings began in the given order; each has one value for all metrics, or failed."""
    search = Search(
        space={"seed": Distribution(choice=[1, 2])},
        trials=9,
        metric="val/AP",
        mode="max",
        objectives=list(OBJECTIVES) if winner is None else [],
        modes=["max", "max"],
        all_seeds=[*seeds, 9],
    )
    trials, rows = [], []
    for arm, of_arm in results.items():
        for number, (seed, value) in enumerate(of_arm.items()):
            run, status = f"{arm}-{seed}", "FAILED" if value is None else "FINISHED"
            trials.append(Trial(arm, seed, run, status, START + timedelta(minutes=number)))
            rows += [] if value is None else [(run, metric, 4, value) for metric in OBJECTIVES]
    points = pd.DataFrame(rows, columns=["run_id", "key", "step", "value"])
    experiment = Experiment(name="x", seeds=seeds, search=search, metrics=["val/AP"])
    sweep = Sweep("x", "run", "sweep", "FINISHED", START, "sqlite://", experiment, tuple(trials), points, winner=winner)
    return sweep, search


def test_points_that_lack_a_seed_are_not_on_the_front_and_are_named() -> None:
    results: dict[str, dict[int, float | None]] = {
        "a": {0: 0.3, 1: 0.3},
        "b": {0: 0.2, 1: 0.4},
        "c": {0: 0.9, 1: None},
        "d": {1: 0.8},
    }
    front = build_front(*make_sweep(results, [0, 1]))
    assert front is not None
    assert (set(front.frame["trial"]), front.common_seeds, front.incomplete) == ({"a", "b"}, 2, ("c", "d"))
    assert front.frame["share"].notna().all()
    assert "in the 2 seeds of the others: c and d" in note_incomplete(front)[0]


def test_before_any_point_has_all_seeds_those_with_the_most_are_compared() -> None:
    front = build_front(*make_sweep({"a": {0: 0.3}, "b": {0: 0.2}, "c": {1: 0.9}}, [0, 1]))
    assert front is not None
    assert (front.trials, set(front.frame["trial"]), front.incomplete) == (["a"], {"a", "b"}, ("c",))
    assert note_incomplete(None) == []


def test_confirming_seeds_come_as_they_began_without_any_that_was_searched() -> None:
    values = {0: 0.4, 9: 0.4, 5: 0.3, 3: 0.31}
    sweep, search = make_sweep({"t000": values, "base": values}, [0], winner="t000")
    confirmation = build_confirmation(sweep, search, 0.4)
    assert confirmation is not None
    assert confirmation.design.seeds == (5, 3)
    assert set(confirmation.seeds) == {5, 3}


CONFIRMED = {
    "base": [0.300, 0.312, 0.305, 0.309, 0.301, 0.307],
    "t000": [0.302, 0.309, 0.306, 0.307, 0.304, 0.306],
    "t001": [0.351, 0.364, 0.353, 0.361, 0.350, 0.358],
}


def confirm(*arms: str, winner: str = "t001") -> Confirmation:
    """Return the confirmation over the seeds 2 to 7 of a search that the arms led, one after the other."""
    results: dict[str, dict[int, float | None]] = {arm: {0: 0.4} for arm in ("t000", "t001", "t002")}
    for arm in arms:
        results[arm] = {**results.get(arm, {}), **dict(enumerate(CONFIRMED[arm], start=2))}
    return present(build_confirmation(*make_sweep(results, [0], winner=winner), 0.4))


def test_winners_of_earlier_commands_are_corrected_together_with_the_present_one() -> None:
    alone, second = confirm("base", "t001"), confirm("base", "t000", "t001")
    assert (present(alone.verdict).outcome, alone.earlier, len(alone.findings)) == ("higher", (), 1)
    # Six pairs decide for one winner, and for the second one they do not.
    assert (present(second.verdict).arm, present(second.verdict).outcome) == ("t001", "too few")
    assert present(second.comparison).test.level == 0.025
    assert [each.arm for each in second.earlier] == ["t000"]
    assert second.findings[1].startswith("t000, an earlier winner: too few seeds to tell")
    assert list(second.table.frame["arm"]) == ["base", "t001", "t000"]
    assert second.gap == alone.gap and second.seeds == alone.seeds


def test_a_point_without_a_pair_was_not_compared_and_is_no_earlier_winner() -> None:
    values: dict[str, dict[int, float | None]] = {
        "base": {2: 0.30, 3: 0.31},
        "t000": {0: 0.4, 2: None, 4: 0.5},
        "t001": {0: 0.4, 2: 0.35, 3: 0.36},
    }
    confirmation = present(build_confirmation(*make_sweep(values, [0], winner="t001"), 0.4))
    assert (confirmation.earlier, confirmation.design.seeds) == ((), (2, 3))


def test_seeds_that_earlier_winners_alone_had_come_last_as_no_look_at_the_present_one_had_them() -> None:
    values: dict[str, dict[int, float | None]] = {
        "base": {2: 0.30, 3: 0.31, 4: 0.30, 5: 0.31},
        "t000": {0: 0.4, 2: 0.30, 3: 0.32},
        "t001": {0: 0.4, 4: 0.35, 5: 0.36},
    }
    confirmation = present(build_confirmation(*make_sweep(values, [0], winner="t001"), 0.4))
    assert confirmation.design.seeds == (4, 5, 2, 3)
    assert present(confirmation.comparison).seeds == (4, 5)
    assert [(each.arm, each.seeds) for each in confirmation.earlier] == [("t000", (2, 3))]


def test_looks_at_an_earlier_winner_count_its_own_seeds_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the present winner were not begun when they were taken."""
    tested: list[PairedSample] = []

    def keep(samples: Sequence[PairedSample]) -> list[ArmTest]:
        tested.extend(samples)
        return make_arm_tests(samples)

    monkeypatch.setattr("analysis.stats.comparison.make_arm_tests", keep)
    t000, t001 = (dict(enumerate(CONFIRMED[arm], start=first)) for arm, first in (("t000", 2), ("t001", 10)))
    base = {**dict(enumerate(CONFIRMED["base"], start=2)), **dict(enumerate(CONFIRMED["base"], start=10))}
    results: dict[str, dict[int, float | None]] = {"base": {**base}, "t000": {0: 0.4, **t000}, "t001": {0: 0.4, **t001}}
    sweep, search = make_sweep(results, [0], winner="t001")
    confirmation = present(build_confirmation(replace(sweep, looks=(3, 6)), search, 0.4))
    assert confirmation.design.seeds == (*range(10, 16), *range(2, 8))
    assert [sample.looks for sample in tested] == [(3, 6), (3, 6)]
    assert [each.seeds for each in confirmation.earlier] == [tuple(range(2, 8))]


def test_tests_of_earlier_winners_are_described_where_the_starting_point_leads_itself() -> None:
    confirmation = confirm("base", "t000", winner="base")
    assert confirmation.comparison is None and [each.arm for each in confirmation.earlier] == ["t000"]
    assert confirmation.seeds == tuple(range(2, 8))
    method = describe_confirmation(confirmation)
    assert any("an exact sequential sign-flip test" in line for line in method)
    assert method[-1].startswith("Earlier winners are arms too")
    assert describe_confirmation(None) == []


def test_the_path_is_trained_with_the_seeds_of_the_confirmation_else_with_unused_ones() -> None:
    sweep, search = make_sweep({"t000": {0: 0.4}}, [0])
    keys = ("schedule.lr_per_16_images", "model.fpn.channels")
    search = search.model_copy(
        update={"space": {key: Distribution(choice=[1, 2]) for key in keys}, "base": dict.fromkeys(keys, 1)}
    )
    best = {"trial": "t000", "value": 0.4, "seeds": 1, **dict.fromkeys(keys, 2)}
    shares = pd.DataFrame(columns=["key", "importance"])
    confirmed = format_best_settings(sweep, search, best, shares, (20, 21))
    assert "name=x_confirmed" not in confirmed and "'experiment.seeds=[20,21]'" in confirmed
    # 9 is of an earlier command.
    assert format_best_settings(sweep, search, best, shares).count("'experiment.seeds=[10,11,12]'") == 2
