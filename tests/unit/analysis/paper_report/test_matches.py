"""paper_fillings.py and paper_tables.py: what stands for a row, and that other data never pass for COCO."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pytest

from analysis.paper_report.matches import COCO, DRAWN, OTHER, Filling, fillings
from analysis.paper_report.tables import NOT_RUN, difference_cells, numbers, paper_tables, summary
from analysis.papers.recipe import RECIPE
from analysis.papers.rows import ROWS, Version
from analysis.reader.sweep import Experiment, Sweep

START = pd.Timestamp("2026-01-01", tz="UTC")
PARAMS: Mapping[str, Any] = {
    **RECIPE,
    "model.backbone.weights": "IMAGENET1K_V1",
    "model.assignment.center_sampling_radius": None,
    "model.loss.regression": "iou",
    "data.train.annotations": "annotations/instances_train2017.json",
    "data.val.annotations": "annotations/instances_val2017.json",
}
CLASSES = {f"val/class_AP/{index}": 0.3 for index in range(80)}


def sweep_of(
    results: Mapping[str, list[float | None]],
    paper: Mapping[str, list[str]],
    data: str = "coco",
    name: str = "sweep",
    **changed: Any,
) -> Sweep:
    """Arms with an AP for each seed, None for a trial that failed; params in v1's recipe but for what is changed."""
    params = {**PARAMS, **{key.replace("__", "."): value for key, value in changed.items()}}
    trials = [
        {
            "arm": arm,
            "seed": seed,
            "status": "FAILED" if ap is None else "FINISHED",
            "run_id": f"{name}-{arm}-{seed}",
            "tags": {"fcos.data": data},
            "params": params,
            "metrics": {} if ap is None else {"val/AP": ap, **CLASSES},
            "superseded": False,
        }
        for arm, aps in results.items()
        for seed, ap in enumerate(aps)
    ]
    experiment = Experiment(
        name=name, baseline=next(iter(results)), arms={arm: {} for arm in results}, paper=dict(paper)
    )
    nothing = pd.DataFrame(columns=["run_id", "key", "step", "value"])
    return Sweep(name, name, "sweep", "FINISHED", START, "sqlite://", experiment, pd.DataFrame(trials), nothing)


def first(*sweeps: Sweep, row: str = "v1.table4.branch") -> Filling:
    return fillings(sweeps, "v1")[0][row][0]


ROW = {"branch": ["v1.table4.branch"], "none": ["v1.table4.none"]}


def test_the_papers_recipe_on_coco_is_reproduced_within_the_noise_of_reruns() -> None:
    filling = first(sweep_of({"none": [0.335], "branch": [0.375, 0.377, 0.376]}, ROW))
    assert filling.data == COCO and filling.departures == ()
    assert filling.verdict.startswith("reproduced: +0.5 AP over 3 seeds")
    assert filling.runs == {0: "sweep-branch-0", 1: "sweep-branch-1", 2: "sweep-branch-2"}
    assert filling.difference("val/AP") == pytest.approx(0.005)


def test_too_far_from_the_paper_is_not_reproduced() -> None:
    assert first(sweep_of({"none": [0.335], "branch": [0.36]}, ROW)).verdict.startswith("not reproduced: −1.1 AP")


def test_another_recipe_on_coco_is_never_reproduced() -> None:
    filling = first(sweep_of({"none": [0.335], "branch": [0.371]}, ROW, schedule__steps=1000))
    assert not filling.reproduced and filling.verdict.startswith("another recipe than the paper's")
    assert "schedule.steps 1000 (paper: 90000)" in filling.departures


@pytest.mark.parametrize(
    ("data", "changed", "words"),
    [
        ("synthetic", {}, DRAWN),
        ("coco", {"data__val__annotations": "my_cells.json"}, OTHER),
        ("coco", {"data__limit_val": 100}, OTHER),
    ],
)
def test_other_data_never_pass_for_coco(data: str, changed: dict[str, Any], words: str) -> None:
    filling = first(sweep_of({"none": [0.33, 0.34], "branch": [0.371, 0.38]}, ROW, data, **changed))
    assert filling.data == words and not filling.on_coco and not filling.reproduced
    tables = paper_tables("v1", {"v1.table4.branch": [filling]})
    table = next(table for table in tables if table.title == "Table 4")
    assert difference_cells(table, filling) == [""] * 6
    line = numbers("v1", tables).query("row == 'v1.table4.branch' and metric == 'val/AP'").iloc[0]
    assert pd.isna(line["difference"]) and line["data"] == words


def test_a_direction_stands_beside_the_papers_where_sizes_do_not_compare() -> None:
    filling = first(sweep_of({"none": [0.33, 0.34, 0.35], "branch": [0.37, 0.39, 0.40]}, ROW, "synthetic"))
    assert filling.verdict == "agrees in direction: +4.7 to none, paper +3.6"


def test_coco_comes_before_other_data_then_the_recipe_then_more_seeds() -> None:
    arms = {"none": [0.3], "branch": [0.37]}
    drawn = sweep_of({"none": [0.3], "branch": [0.4, 0.4]}, ROW, "synthetic", "drawn")
    short = sweep_of({"none": [0.3], "branch": [0.3, 0.3]}, ROW, name="short", schedule__steps=10)
    newer, older = sweep_of(arms, ROW, name="newer"), sweep_of(arms, ROW, name="older")
    more = sweep_of({"none": [0.3], "branch": [0.37, 0.37]}, ROW, name="more")
    found, _ = fillings([drawn, short, newer, older, more], "v1")
    assert [item.sweep.name for item in found["v1.table4.branch"]] == ["more", "newer", "older", "short", "drawn"]


def test_failed_trials_and_other_papers_fill_nothing() -> None:
    sweep = sweep_of({"none": [0.3], "branch": [None, 0.36]}, {"branch": ["v1.table4.branch", "v2.table4.branch"]})
    assert list(first(sweep).runs) == [1]
    assert fillings([sweep], "v2")[0].keys() == {"v2.table4.branch"}
    failed = sweep_of({"none": [0.3], "branch": [None]}, ROW)
    assert "v1.table4.branch" not in fillings([failed], "v1")[0]


def test_a_row_that_no_table_has_is_a_note() -> None:
    found, notes = fillings([sweep_of({"none": [0.3]}, {"none": ["v1.table4.nune"]})], "v1")
    assert found == {}
    assert len(notes) == 1 and "did you mean v1.table4.none" in notes[0]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_all_tables_of_a_paper_are_laid_out_without_a_run(version: Version) -> None:
    tables = paper_tables(version, {})
    laid = [line.row.id for table in tables for line in table.lines]
    assert laid == [item.id for item in ROWS.values() if item.version == version]
    assert summary(tables)["run"].sum() == 0
    assert set(numbers(version, tables)["verdict"]) == {NOT_RUN}
