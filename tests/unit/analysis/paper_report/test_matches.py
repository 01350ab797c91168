"""Matches of rows of papers: which arm stands for a row, and that other data never passes for COCO."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest

from analysis.paper_report.comparison import (
    NOT_RUN,
    collect_numbers,
    count_rows,
    format_difference_cells,
    make_comparison_tables,
)
from analysis.paper_report.matches import COCO, OTHER, SYNTHETIC, PaperMatch, match_rows
from analysis.papers.recipe import RECIPE
from analysis.papers.rows import ROWS, Version
from analysis.reader.sweep import Experiment, Provenance, Sweep, Trial

START = datetime(2026, 1, 1, tzinfo=UTC)
PARAMS: Mapping[str, Any] = {
    **RECIPE,
    "model.backbone.weights": "IMAGENET1K_V1",
    "model.assignment.center_sampling_radius": None,
    "model.loss.regression": "iou",
    "data.train.annotations": "annotations/instances_train2017.json",
    "data.val.annotations": "annotations/instances_val2017.json",
}
CLASSES = {f"val/class_AP/{index}": 0.3 for index in range(80)}


def make_sweep(
    results: Mapping[str, Sequence[float | None]],
    paper: Mapping[str, list[str]],
    data: str = "coco",
    name: str = "sweep",
    **changed: Any,
) -> Sweep:
    """Return a sweep with an AP for each arm and seed, None for a trial that failed.

    Its params are v1's recipe except for what is changed (`__` for a dot in a key).
    """
    params = {**PARAMS, **{key.replace("__", "."): value for key, value in changed.items()}}
    trials = tuple(
        Trial(
            arm=arm,
            seed=seed,
            run_id=f"{name}-{arm}-{seed}",
            status="FAILED" if ap is None else "FINISHED",
            started=START,
            params=params,
            metrics={} if ap is None else {"val/AP": ap, **CLASSES},
            provenance=Provenance(data=data),
        )
        for arm, aps in results.items()
        for seed, ap in enumerate(aps)
    )
    experiment = Experiment(
        name=name, baseline=next(iter(results)), arms={arm: {} for arm in results}, paper=dict(paper)
    )
    no_points = pd.DataFrame(columns=["run_id", "key", "step", "value"])
    return Sweep(name, name, "sweep", "FINISHED", START, "sqlite://", experiment, trials, no_points)


def match_first(*sweeps: Sweep, row: str = "v1.table4.branch") -> PaperMatch:
    return match_rows(sweeps, "v1")[0][row][0]


ROW = {"branch": ["v1.table4.branch"], "none": ["v1.table4.none"]}


def test_the_papers_recipe_on_coco_is_reproduced_within_the_noise_of_reruns() -> None:
    match = match_first(make_sweep({"none": [0.335], "branch": [0.375, 0.377, 0.376]}, ROW))
    assert match.data == COCO and match.departures == ()
    assert match.verdict.startswith("reproduced: +0.5 AP over 3 seeds")
    assert match.run_ids == {0: "sweep-branch-0", 1: "sweep-branch-1", 2: "sweep-branch-2"}
    assert match.difference("val/AP") == pytest.approx(0.005)


def test_too_far_from_the_paper_is_not_reproduced() -> None:
    assert match_first(make_sweep({"none": [0.335], "branch": [0.36]}, ROW)).verdict.startswith(
        "not reproduced: −1.1 AP"
    )


def test_another_recipe_on_coco_is_never_reproduced() -> None:
    match = match_first(make_sweep({"none": [0.335], "branch": [0.371]}, ROW, schedule__steps=1000))
    assert not match.is_reproduced and match.verdict.startswith("another recipe than the paper's")
    assert "schedule.steps 1000 (paper: 90000)" in match.departures


@pytest.mark.parametrize(
    ("data", "changed", "expected"),
    [
        ("synthetic", {}, SYNTHETIC),
        ("coco", {"data__val__annotations": "my_cells.json"}, OTHER),
        ("coco", {"data__limit_val": 100}, OTHER),
    ],
)
def test_other_data_never_passes_for_coco(data: str, changed: dict[str, Any], expected: str) -> None:
    match = match_first(make_sweep({"none": [0.33, 0.34], "branch": [0.371, 0.38]}, ROW, data, **changed))
    assert match.data == expected and not match.is_coco and not match.is_reproduced
    tables = make_comparison_tables("v1", {"v1.table4.branch": [match]})
    table = next(table for table in tables if table.title == "Table 4")
    assert format_difference_cells(table, match) == [""] * 6
    line = collect_numbers("v1", tables).query("row == 'v1.table4.branch' and metric == 'val/AP'").iloc[0]
    assert pd.isna(line["difference"]) and line["data"] == expected


def test_where_sizes_do_not_compare_the_direction_is_compared() -> None:
    none, branch = [0.33, 0.34, 0.35, 0.33, 0.34, 0.35], [0.37, 0.39, 0.40, 0.38, 0.38, 0.40]
    match = match_first(make_sweep({"none": none, "branch": branch}, ROW, "synthetic"))
    assert match.verdict == "agrees in direction: +4.7 to none, paper +3.6"
    three = match_first(make_sweep({"none": none[:3], "branch": branch[:3]}, ROW, "synthetic"))
    assert three.verdict == "cannot tell: +4.7 to none, paper +3.6"


def test_coco_comes_before_other_data_then_the_recipe_then_more_seeds() -> None:
    arms = {"none": [0.3], "branch": [0.37]}
    synthetic = make_sweep({"none": [0.3], "branch": [0.4, 0.4]}, ROW, "synthetic", "synthetic")
    short = make_sweep({"none": [0.3], "branch": [0.3, 0.3]}, ROW, name="short", schedule__steps=10)
    newer, older = make_sweep(arms, ROW, name="newer"), make_sweep(arms, ROW, name="older")
    more = make_sweep({"none": [0.3], "branch": [0.37, 0.37]}, ROW, name="more")
    matches, _ = match_rows([synthetic, short, newer, older, more], "v1")
    names = [match.sweep.name for match in matches["v1.table4.branch"]]
    assert names == ["more", "newer", "older", "short", "synthetic"]


def test_failed_trials_and_rows_of_other_papers_match_nothing() -> None:
    sweep = make_sweep({"none": [0.3], "branch": [None, 0.36]}, {"branch": ["v1.table4.branch", "v2.table4.branch"]})
    assert list(match_first(sweep).run_ids) == [1]
    assert match_rows([sweep], "v2")[0].keys() == {"v2.table4.branch"}
    failed = make_sweep({"none": [0.3], "branch": [None]}, ROW)
    assert "v1.table4.branch" not in match_rows([failed], "v1")[0]


def test_an_unknown_row_id_is_a_note() -> None:
    matches, notes = match_rows([make_sweep({"none": [0.3]}, {"none": ["v1.table4.nune"]})], "v1")
    assert matches == {}
    assert len(notes) == 1 and "did you mean v1.table4.none" in notes[0]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_all_tables_of_a_paper_are_listed_without_a_run(version: Version) -> None:
    tables = make_comparison_tables(version, {})
    row_ids = [row.row.id for table in tables for row in table.rows]
    assert row_ids == [row.id for row in ROWS.values() if row.version == version]
    assert count_rows(tables)["run"].sum() == 0
    assert set(collect_numbers(version, tables)["verdict"]) == {NOT_RUN}
