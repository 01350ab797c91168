"""Every number of a report is the one that stands in the folder of its training, whatever happened in between."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.csv_rows import read_rows
from tests.helpers.experiments.sweeps import (
    ROOT,
    SHARED,
    TINY,
    client,
    environment,
    finished,
    runs,
    trials_of,
    wait_for,
)
from tests.helpers.processes.waiting import PATIENCE

pytestmark = pytest.mark.slow(minutes=2)

SEARCH = (
    "+experiment=search_fcos",
    *TINY,
    "schedule.eval_every=6",
)


def results(folder: Path, name: str) -> dict[tuple[str, int], dict[str, float]]:
    """(arm, seed) -> the metrics in the summary of its training's folder."""
    plan = json.loads((folder / "outputs" / name / "plan.json").read_text())
    found: dict[tuple[str, int], dict[str, float]] = {}
    for trial in plan["trials"]:
        path = folder / "outputs" / name / "trials" / trial["identity"][:16] / "summary.json"
        if path.exists():
            metrics = json.loads(path.read_text())["summary"]["metrics"]
            found |= {(arm, trial["seed"]): metrics[arm] for arm in trial["arms"]}
    return found


def reported(folder: Path, name: str) -> list[dict[str, str]]:
    return read_rows(folder / "outputs" / name / "report" / "table.csv")


def check_arms(folder: Path, name: str, seeds: int) -> None:
    """Hold every number of every seed in a report against the folders, and the store's runs too."""
    known, compared = results(folder, name), 0
    for row in reported(folder, name):
        for key in (key for key in row if key.startswith("seed ")):
            assert float(row[key]) == known[row["arm"], int(key.removeprefix("seed "))][row["metric"]], (row, key)
            compared += 1
    assert compared == 3 * len(known) and len(known) == 2 * seeds
    current = {key: one for key, one in runs(folder, name).items() if "fcos.arm" in one.data.tags}
    assert {one.info.status for one in current.values()} == {"FINISHED"}
    for one in current.values():
        tags = one.data.tags
        metrics = known[tags["fcos.arm"], int(tags["fcos.seed"])]
        assert {key: one.data.metrics[key] for key in metrics} == metrics


def check_search(folder: Path, name: str) -> None:
    known = results(folder, name)
    plan = json.loads((folder / "outputs" / name / "plan.json").read_text())
    rows = {row["trial"]: row for row in reported(folder, name)}
    assert {(arm, 0) for arm in rows} == set(known)
    for arm, row in rows.items():
        assert float(row["value"]) == known[arm, 0]["val/AP"]
        drawn = plan["search"]["drawn"][arm]["keys"]
        one = runs(folder, name)[f"{arm} seed 0"]
        assert {key: _plain(one.data.params[key]) for key in drawn} == drawn
        assert json.loads(one.data.tags["fcos.drawn"]) == drawn


def _plain(param: str) -> Any:
    try:
        return json.loads(param)
    except ValueError:
        return param


def shift(trial: Path) -> None:
    """Change a training's metrics wherever its folder keeps them, as if another processor had trained it."""
    summary: dict[str, Any] = json.loads((trial / "summary.json").read_text())
    for metrics in summary["summary"]["metrics"].values():
        for key in metrics:
            metrics[key] += 0.125
    (trial / "summary.json").write_text(json.dumps(summary))
    points = [json.loads(line) for line in (trial / "points.jsonl").read_text().splitlines()]
    moved = [[arm, key, step, value + 0.125 * key.startswith("val/")] for arm, key, step, value in points]
    (trial / "points.jsonl").write_text("".join(json.dumps(point) + "\n" for point in moved))


def test_a_training_that_was_reused_and_then_done_anew(tmp_path: Path) -> None:
    finished(tmp_path, *SHARED, "name=first")
    (trained,) = trials_of(tmp_path, "first")
    shift(trained)
    finished(tmp_path, *SHARED, "name=second")
    check_arms(tmp_path, "second", seeds=1)
    before = {key: one.info.run_id for key, one in runs(tmp_path, "second").items()}
    finished(tmp_path, *SHARED, "name=second", "reuse=false", "retrain_reason=the report is tested")
    check_arms(tmp_path, "second", seeds=1)
    store, after = client(tmp_path), runs(tmp_path, "second")
    assert results(tmp_path, "first") != results(tmp_path, "second")
    for key in ("none seed 0", "from_regression seed 0"):
        assert store.get_run(before[key]).data.tags["fcos.superseded_by"] == after[key].info.run_id
        assert "fcos.reused_from" not in after[key].data.tags


def test_a_search_with_fewer_and_then_with_more_trials_and_another_searcher(tmp_path: Path) -> None:
    for words in (["experiment.search.trials=3"], ["experiment.search.trials=2"]):
        finished(tmp_path, *SEARCH, *words)
        check_search(tmp_path, "search_fcos")
    known = results(tmp_path, "search_fcos")
    finished(tmp_path, *SEARCH, "search=tpe", "experiment.search.trials=4")
    check_search(tmp_path, "search_fcos")
    after = results(tmp_path, "search_fcos")
    assert len(known) == 3 and len(after) == 4 and {key: after[key] for key in known} == known


def test_a_deleted_sweep_and_a_deleted_run_are_made_up_for(tmp_path: Path) -> None:
    words = [*SHARED, "experiment.seeds=[0,1]"]
    finished(tmp_path, *words)
    check_arms(tmp_path, "ablation_centerness", seeds=2)
    store, before = client(tmp_path), runs(tmp_path)
    store.delete_run(before["ablation_centerness"].info.run_id)
    store.delete_tag(before["none seed 1"].info.run_id, "fcos.kind")
    finished(tmp_path, *words)
    check_arms(tmp_path, "ablation_centerness", seeds=2)
    assert runs(tmp_path)["none seed 0"].info.run_id == before["none seed 0"].info.run_id
    store.delete_run(before["none seed 0"].info.run_id)
    # One seed more, and one that is left out this time and stays in the report.
    finished(tmp_path, *SHARED, "experiment.seeds=[0,2]")
    check_arms(tmp_path, "ablation_centerness", seeds=3)


def test_code_edited_while_a_sweep_runs_gives_no_number_under_the_old_code(tmp_path: Path) -> None:
    """The first training ends under the planned code; the ones after it do not begin under another."""
    copy = tmp_path / "copy"
    for name in ("fcos", "orchestration", "analysis", "conf"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    words = [*SHARED, "experiment.seeds=[0,1,2]", "cluster.concurrent=1", "cluster.ray_train=always"]
    command = [sys.executable, str(copy / "orchestration" / "sweep.py"), *words]
    imports = {**environment(tmp_path), "PYTHONPATH": str(copy)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=imports, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        wait_for(lambda: any((trial / "points.jsonl").exists() for trial in trials_of(tmp_path)), process)
        with (copy / "fcos" / "build.py").open("a") as file:
            file.write("\nRATE = 10\n")
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, output
    assert output.count("the code of fcos/ is not that of the plan") >= 2 and "planned" in output
    found = {key: one.info.status for key, one in runs(tmp_path).items()}
    assert found["none seed 0"] == "FINISHED"
    assert {found[f"{arm} seed {seed}"] for arm in ("none", "from_regression") for seed in (1, 2)} == {"FAILED"}
    assert all("taken up from its last checkpoint" not in line for line in output.splitlines())
