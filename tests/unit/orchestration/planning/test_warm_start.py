"""A warm start: which finished trainings of a store the searcher is given, and that it is given the same again."""

import json
from pathlib import Path
from typing import Any

import pytest

from fcos.config.parse import flatten, with_keys
from fcos.errors import ConfigError
from fcos.storage.store_conventions import param_text
from orchestration.planning import warm_start
from orchestration.planning.plan import PLAN, Plan, read_plan, settle_plan
from orchestration.search.points import search_values
from orchestration.tracking.history import PastRun
from tests.helpers.experiments.composed import composed, plan_of
from tests.helpers.experiments.stored_runs import StoredRuns
from tests.helpers.present import present

WORDS = ("+experiment=search_fcos", "search=tpe", "search.warm_start=true")
RACE = (*WORDS, "experiment.seeds=[0,1]", "search.confirm_seeds=2")
RATE, NORM, RANGES = "schedule.lr_per_16_images", "model.head.norm", "model.assignment.ranges"
INSIDE: dict[str, Any] = {RANGES: [[0, 32], [32, 64], [64, 100], [100, None]]}


def plan_with_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *runs: PastRun, words: tuple[str, ...] = WORDS
) -> Plan:
    monkeypatch.setattr(warm_start, "open_history", lambda uri, folder: StoredRuns(*runs))
    return plan_of(tmp_path, *words)


def past(run_id: str, keys: dict[str, Any], ap: float | None = 0.3, tags: dict[str, str] | None = None) -> PastRun:
    """Return a finished run of the search's starting point with other keys."""
    config = with_keys(composed("+experiment=search_fcos").training, {**INSIDE, **keys})
    params = {key: param_text(value) for key, value in flatten(config.model_dump(mode="json")).items()}
    known = {"fcos.sweep": "before", "fcos.data_digest": "d", **(tags or {})}
    return PastRun(run_id, known, params, {} if ap is None else {"val/AP": ap})


def observed(plan: Plan) -> list[tuple[float, list[str]]]:
    assert plan.search is not None
    return [(each.values[0], each.runs) for each in plan.search.observations]


def test_trainings_of_the_space_are_observations_and_seeds_are_averaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [past("a", {}, 0.25), past("b", {"seed": 3}, 0.5), past("c", {RATE: 0.01}, 0.4)]
    plan = plan_with_store(tmp_path, monkeypatch, *runs)
    assert observed(plan) == [(0.375, ["a", "b"]), (0.4, ["c"])]
    assert plan.notes == (
        "3 finished trainings of the store are given to the searcher, as 2 of its points (search.warm_start)",
    )


def test_what_is_no_point_is_left_out_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [
        past("a", {}),
        past("b", {RATE: 0.9}),
        past("c", {"model.fpn.channels": 64}),
        past("d", {RATE: 0.03}, None),
    ]
    plan = plan_with_store(tmp_path, monkeypatch, *runs)
    assert observed(plan) == [(0.3, ["a"])]
    (note,) = plan.notes
    for reason in (f"1 with {RATE}=0.9", "1 with another model.fpn.channels", "1 without a finite val/AP"):
        assert reason in note


def test_other_data_other_schedules_copies_extensions_and_the_sweep_itself_are_no_candidates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [
        past("a", {}, tags={"fcos.data_digest": "other"}),
        past("b", {"schedule.steps": 500}),
        past("c", {}, tags={"fcos.reused_from": "x"}),
        past("d", {}, tags={"fcos.sweep": "search_fcos"}),
        past("e", {}, tags={"fcos.extends": "ab12"}),
        # By an older version, which left no digest of the checkpoint.
        past("f", {}, tags={"fcos.trunk": "1", "fcos.train_identity": "1"}),
    ]
    plan = plan_with_store(tmp_path, monkeypatch, *runs)
    assert observed(plan) == []
    assert "left out" not in plan.notes[0]


def test_a_later_command_is_given_the_observations_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = plan_with_store(tmp_path, monkeypatch, past("a", {}))
    settle_plan(first)
    again = plan_with_store(tmp_path, monkeypatch, past("a", {}), past("b", {RATE: 0.03}))
    assert observed(again) == observed(first)
    assert "as in the first command of this sweep" in again.notes[0]
    settle_plan(plan_with_store(tmp_path, monkeypatch, words=("+experiment=search_fcos", "search=tpe")))
    stored = read_plan(first.folder)
    assert stored is not None and stored.search is not None
    assert [each.runs for each in stored.search.observations or ()] == [["a"]]


def test_trainings_with_a_confirming_seed_choose_nothing_and_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [
        past("a", {}, 0.25),
        past("b", {"seed": 2}),
        past("c", {"seed": 3, RATE: 0.01}),
        past("d", {"seed": 8}, 0.5),
        # Its images come in the order of a confirming seed.
        past("e", {"seed": 9, "seeds.order": 3}),
    ]
    plan = plan_with_store(tmp_path, monkeypatch, *runs, words=RACE)
    assert present(plan.search).confirm_seeds == (2, 3)
    assert observed(plan) == [(0.375, ["a", "d"])]
    assert "left out: 3 with a seed of search.confirm_seeds" in "\n".join(plan.notes)
    # A report takes none of these for seeds that the search did not see.
    assert search_values(present(plan.search))["all_seeds"] == [0, 1, 8]


def test_a_source_of_chance_that_the_search_fixes_is_no_confirming_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All trainings have their images in the order of seed 2, those that confirm too."""
    fixed = {"seeds.order": 2}
    runs = [
        past("a", fixed, 0.25),
        past("b", {"seed": 8, **fixed}, 0.5),
        past("c", {"seed": 2, **fixed}),
        past("d", {"seed": 9, "seeds.order": 3}),
        past("e", {"seed": 9, "seeds.weights": 2}),
    ]
    plan = plan_with_store(tmp_path, monkeypatch, *runs, words=(*RACE, "seeds.order=2"))
    assert present(plan.search).confirm_seeds == (2, 3)
    assert observed(plan) == [(0.375, ["a", "b"])]
    assert "left out: 3 with a seed of search.confirm_seeds" in "\n".join(plan.notes)
    assert present(plan.search).observed_seeds == {0, 8}


def test_seeds_that_the_searcher_was_given_confirm_in_no_later_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle_plan(plan_with_store(tmp_path, monkeypatch, past("a", {"seed": 5}), words=RACE))
    for words in (("search.confirm_seeds=6",), ("search.confirm_seeds=6", "search.warm_start=false")):
        later = plan_with_store(tmp_path, monkeypatch, words=(*RACE, *words))
        assert present(later.search).confirm_seeds == (2, 3, 4, 6, 7, 8)
        settle_plan(later)
    with pytest.raises(ConfigError, match=r"confirm_seeds=\[4, 5\]: \[5\] are seeds of trainings that an earlier"):
        plan_with_store(tmp_path, monkeypatch, words=(*RACE, "search.confirm_seeds=[4,5]"))


def test_seeds_that_an_older_version_did_not_store_are_those_of_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [past("a", {"seed": 5}), past("b", {"seed": 4}, tags={"fcos.data_digest": "other"})]
    plan = plan_with_store(tmp_path, monkeypatch, *runs, words=RACE)
    settle_plan(plan)
    values = json.loads((plan.folder / PLAN).read_text())
    del values["search"]["observed_seeds"]
    (plan.folder / PLAN).write_text(json.dumps(values))
    later = plan_with_store(tmp_path, monkeypatch, *runs, words=(*RACE, "search.confirm_seeds=4"))
    assert present(later.search).confirm_seeds == (2, 3, 4, 6)
    settle_plan(later)
    assert present(present(read_plan(plan.folder)).search).observed_seeds == [5]


def test_nothing_is_looked_up_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_with_store(tmp_path, monkeypatch, past("a", {}), words=("+experiment=search_fcos", "search=tpe"))
    assert (observed(plan), plan.notes) == ([], ())


def test_a_search_that_draws_whatever_trainings_gave_has_no_warm_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"no effect with search\.searcher=random"):
        plan_with_store(tmp_path, monkeypatch, words=("+experiment=search_fcos", "search.warm_start=true"))
