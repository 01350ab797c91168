"""The benchmark of large sweeps: simulated trainings end as real ones do, and what is measured is put into tables."""

import logging
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest

from fcos.evaluation.coco import result_metrics
from fcos.evaluation.saved.saved_evaluation import read_evaluation
from fcos.storage.store_conventions import Tag
from fcos.storage.summary_file import read_finished_run
from orchestration.leases.lease import Outcome, read_state
from orchestration.leases.objects import FolderObjects
from orchestration.tracking.datasets import DatasetProfile, RunDataset, log_datasets
from orchestration.tracking.store import open_store

Load = Callable[[str], ModuleType]
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "large_sweeps.py"
# Of every kind some, in twenty trainings.
RATES = {"lost": 0.2, "preempted": 0.1, "error": 0.1, "memory": 0.1, "diverged": 0.1}


def record_of(module: ModuleType, count: int, plan: float, *, ended: tuple[str, ...] = ()) -> Any:
    """Return a record whose plan took some seconds, and in which nothing else was measured."""
    measured = {} if ended else {"plan": module.Measurement(cpu=plan)}
    return module.Record("arms", count, measured, {}, list(ended))


def test_a_table_marks_what_grows_too_fast_misses_its_goal_or_took_too_long(load: Load) -> None:
    module = load("scale.tables")

    def last_row(*records: Any) -> str:
        return str(module.make_table(module.ARMS, records).splitlines()[2:][0])

    linear = [record_of(module, 1000, 2.0), record_of(module, 10_000, 20.0)]
    assert last_row(*linear).endswith("| 2 | 20 | 1.00 | 30 |")
    steep = [record_of(module, 1000, 2.0), record_of(module, 10_000, 200.0)]
    assert last_row(*steep).endswith("| 2 | 200 | **2.00** | **30: missed** |")
    assert "| 2 | over the limit |" in last_row(linear[0], record_of(module, 10_000, 0.0, ended=("plan",)))
    assert [module.Record.from_json(each.to_json()) for each in steep] == steep


def test_a_value_of_each_training_is_steep_where_it_grows_at_all(load: Load) -> None:
    module = load("scale.tables")
    row = module.Row("", "sweep", lambda record: 0.0, each=True)
    assert not row.is_steep({100: 5.0, 1000: 5.0}) and row.is_steep({100: 5.0, 1000: 50.0})


def test_what_would_take_longer_than_the_limit_is_not_tried(load: Load) -> None:
    module, tables = load("large_sweeps"), load("scale.tables")
    measured = {"plan": tables.Measurement(wall=2.0), "report": tables.Measurement(wall=9.0)}
    before = tables.Record("arms", 100, measured, {}, ["status"])
    assert module.find_too_long(None, 100, 60.0) == set()
    assert module.find_too_long(before, 1000, 60.0) == {"status", "report"}


def test_attempts_fail_at_the_given_rates(load: Load) -> None:
    module = load("scale.simulated_training")
    generator, rates = Random(0), module.FailureRates(**RATES)
    drawn = Counter(rates.draw(generator) for _ in range(4000))
    # Five standard errors of the share.
    for fate, rate in {**RATES, "finished": 1 - sum(RATES.values())}.items():
        assert drawn[fate] / 4000 == pytest.approx(rate, abs=5 * (rate * (1 - rate) / 4000) ** 0.5), fate
    assert {module.NO_FAILURES.draw(generator) for _ in range(200)} == {"finished"}


def test_results_differ_by_group_and_are_those_of_their_saved_detections(load: Load, tmp_path: Path) -> None:
    module = load("scale.made_results")
    bank = module.make_bank(tmp_path)
    values = [result.metrics["val/AP"] for result in bank.results]
    assert values == sorted(values) and values[0] < values[-1]
    for result in bank.results[::5]:
        saved = read_evaluation(result.evaluation[0].parent)
        assert result_metrics(saved.annotations, saved.results) == result.metrics
    chosen = [bank.choose({"lr": 0.01, "seed": seed}) for seed in range(12)]
    assert chosen[0] is bank.choose({"seed": 0, "lr": 0.01})
    groups = {bank.results.index(result) // module.PER_GROUP for result in chosen}
    assert len(groups) == 1, "a configuration has a level of its own, of which seeds are chance"


def test_files_are_counted_by_kind_and_links_once(load: Load, tmp_path: Path) -> None:
    module = load("scale.disk")
    training = tmp_path / "name" / "trials" / "ab12"
    for path, size in (
        (training / "checkpoints" / "step_00000002" / "model.safetensors", 100),
        (training / "points.jsonl", 10),
        (tmp_path / "mlartifacts" / "0" / "run" / "artifacts" / "evaluation" / "index.json", 7),
        (tmp_path / "mlflow.db", 5),
        (tmp_path / "name" / "spent.json", 3),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    os.link(training / "points.jsonl", training / "linked.jsonl")
    (training / "dangling").symlink_to(tmp_path / "nothing")
    counted = module.count_bytes(tmp_path)
    assert sorted(counted.values()) == [3, 5, 7, 10, 100] and counted["checkpoints"] == 100
    table = module.make_disk_table({"as it comes": counted, "other": Counter({"checkpoints": 1_000_000})}, 2)
    assert "| checkpoints | 0.00 | 1.00 |" in table and table.endswith("| all | 0.0 | 1.0 |\n")


TABLES = {
    "runs": (
        "run_uuid",
        "name, source_type, source_name, entry_point_name, user_id, status, source_version, lifecycle_stage",
    ),
    "tags": ("run_uuid", "key, value"),
    "params": ("run_uuid", "key, value"),
    "metrics": ("run_uuid", "key, value, timestamp, step, is_nan"),
    "latest_metrics": ("run_uuid", "key, value, timestamp, step, is_nan"),
    "inputs": ("destination_id", "source_type, source_id, destination_type, step"),
}


def rows_of(file: Path, run_id: str) -> dict[str, list[tuple[object, ...]]]:
    """Return the rows of a run by table, without ids and the moments of its start and end."""
    with closing(sqlite3.connect(file)) as connection:
        rows = {
            table: sorted(connection.execute(f"SELECT {columns} FROM {table} WHERE {key} = ?", (run_id,)))
            for table, (key, columns) in TABLES.items()
        }
        tags = "SELECT t.name, t.value FROM input_tags t JOIN inputs i USING (input_uuid) WHERE i.destination_id = ?"
        return {**rows, "input_tags": sorted(connection.execute(tags, (run_id,)))}


@pytest.mark.ray
def test_the_direct_store_writes_the_rows_of_mlflow(load: Load, tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    plain = open_store(f"sqlite:///{file}", "lab", tmp_path / "mlartifacts")
    direct: Any = load("scale.direct_store").DirectStore.of(plain)
    profile = DatasetProfile(24, 70, 1, ("disc",))
    datasets = [RunDataset("drawn", "d" * 64, "training", "code", {"tags": {}}, profile)]
    written = tmp_path / "points.txt"
    written.write_text("a file")
    runs = []
    stores: tuple[Any, ...] = (plain, direct, direct)
    for store in stores:
        runs.append(run_id := store.create("a0001 seed 0", {Tag.ARM: "a0001"}))
        store.set_tags(run_id, {Tag.ARM: "a0002", Tag.NOTES: ""})
        store.log_params(run_id, {"model": {"norm": "gn", "levels": [3, 4]}, "seed": 0})
        store.log_points(
            run_id, {("val/AP", 2): (0.25, 1000), ("val/AP", 4): (0.5, 2000), ("train/loss", 4): (1.5, 2000)}
        )
        store.log_points(run_id, {("val/AP", 3): (0.75, 3000)})
        store.log_json(run_id, {"config.json": {"seed": 0}})
        store.log_files(run_id, [written], "evaluation")
        if store is plain:
            log_datasets(store.client, store.uri, run_id, datasets)
        else:
            direct.log_inputs(run_id, datasets)
            # A later command begins the same run.
            direct.log_inputs(run_id, datasets)
        store.close(run_id, "FINISHED")
    expected = rows_of(file, runs[0])
    assert min(map(len, expected.values())) > 0 and len(expected["latest_metrics"]) == 2
    assert rows_of(file, runs[1]) == rows_of(file, runs[2]) == expected
    artifacts = [
        {path.relative_to(folder): path.read_text() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "mlartifacts" / run_id / "artifacts" for run_id in runs)
    ]
    assert artifacts[0] == artifacts[1] == artifacts[2] and len(artifacts[0]) == 2
    direct.connection.close()


def run_simulated(load: Load, workspace: Any, *, slots: int) -> tuple[int, Any]:
    """Run the command of a sweep in this process without a store; return its exit code and the simulation."""
    module = load("scale.simulated_command")
    request = module.Request("sweep", workspace.words(), str(workspace.folder / "x.json"), slots=slots, stores=False)
    code, simulation = module.run_sweep(request)
    return code, simulation


@pytest.fixture
def _own_log(monkeypatch: pytest.MonkeyPatch) -> None:
    # A command adds a handler for its own console.
    monkeypatch.setattr(logging.getLogger("orchestration"), "handlers", [])


@pytest.mark.ray
@pytest.mark.usefixtures("_own_log")
def test_a_simulated_sweep_ends_as_a_real_one_and_goes_on(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, training = load("scale.simulated_command"), load("scale.simulated_training")
    rates = training.FailureRates(**RATES)
    monkeypatch.setattr(command, "FailureRates", lambda: rates)
    workspace = load("scale.sweeps").Workspace(tmp_path / "arms_20", "arms", 20)
    workspace.write_experiment()
    code, first = run_simulated(load, workspace, slots=10)
    counts = first.counts
    folders = [path.parent for path in sorted((workspace.output / "scale" / "trials").glob("*/summary.json"))]
    assert counts["finished"] == len(folders) and 0 < len(folders) < 20 and code == 1
    assert counts["at once"] == 10 and first.periodic == []
    ended = counts["lost"] + counts["preempted"] + counts["error"] + counts["memory"]
    assert 0 < counts["attempts again"] <= ended and counts["diverged"] > 0
    for folder in folders:
        summary = read_finished_run(folder).summary
        assert all((folder / name).is_file() for name in summary.all_files()) and summary.step == 400
    monkeypatch.setattr(command, "FailureRates", lambda: training.NO_FAILURES)
    code, second = run_simulated(load, workspace, slots=10)
    assert (code, second.counts["finished"]) == (0, 20 - len(folders)), "what was finished is not trained again"
    code, third = run_simulated(load, workspace, slots=10)
    assert code == 0 and "events" not in third.counts


@pytest.mark.ray
@pytest.mark.usefixtures("_own_log")
def test_leases_are_given_back_and_those_of_a_dead_command_are_taken_over(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = load("scale.simulated_command")
    monkeypatch.setattr(command, "LEASED_BY_DEAD", 5)
    monkeypatch.setattr(command, "FailureRates", lambda: load("scale.simulated_training").NO_FAILURES)
    workspace = load("scale.sweeps").Workspace(tmp_path / "arms_10", "arms", 10)
    workspace.write_experiment()
    code, simulation = run_simulated(load, workspace, slots=10)
    assert (code, simulation.counts["finished"]) == (0, 10)
    objects = FolderObjects(workspace.output / ".leases")
    identities = [name for name in objects.names("") if name != "holders"]
    states = [read_state(objects, identity) for identity in identities]
    assert len(states) == 10 and sorted(state.generation for state in states) == [1] * 8 + [2] * 2
    assert {state.end.outcome for state in states if state.end is not None} == {Outcome.FINISHED}
    assert all(simulation.counts[label] > 5 for label in simulation.counts if "every" in label)


@pytest.mark.slow(minutes=1)
@pytest.mark.ray
@pytest.mark.usefixtures("_own_log")
@pytest.mark.parametrize("scenario", ["rounds", "search", "race"])
def test_searchers_are_driven_to_their_end(load: Load, tmp_path: Path, scenario: str) -> None:
    workspace = load("scale.sweeps").Workspace(tmp_path / scenario, scenario, 24)
    workspace.write_experiment()
    code, simulation = run_simulated(load, workspace, slots=10)
    assert code in (0, 1)
    finished = len(list((workspace.output / "scale" / "trials").glob("*/summary.json")))
    counts = simulation.counts
    assert finished == counts["finished"] + counts["stopped early"]
    # Two arms may be decided before each has all of its seeds.
    assert finished >= (10 if scenario == "rounds" else 20) and simulation.seconds["searcher"] > 0
    assert (counts["stopped early"] > 0) == (scenario == "search")


@pytest.mark.slow(minutes=3)
@pytest.mark.ray
def test_every_command_of_a_simulated_sweep_is_measured(load: Load, tmp_path: Path) -> None:
    sweeps, tables = load("scale.sweeps"), load("scale.tables")
    workspace = sweeps.Workspace(tmp_path / "arms_10", "arms", 10)
    words = ["--sizes", "10", "--scenarios", "arms", "--results", str(tmp_path), "--keep"]
    done = subprocess.run([sys.executable, str(BENCHMARK), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    record = tables.Record.from_json((tmp_path / "arms_10.record.json").read_text())
    assert record.ended == [] and set(record.measured) == {command.name for command in workspace.commands()}
    assert all(measurement.cpu > 0 for measurement in record.measured.values())
    assert min(record.bytes.values()) > 0
    assert (workspace.folder / "report" / "report.html").is_file()
    assert tables.make_text([record]).count("\n| ") >= len(tables.ARMS)
    load("scale.figure").draw([record], tmp_path / "figure.svg")
    assert "linear" in (tmp_path / "figure.svg").read_text()
