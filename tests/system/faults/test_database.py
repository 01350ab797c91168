"""Tracking on PostgreSQL behind a server with passwords: many drivers, restarts, what people change in its pages.

uv run --group database pytest -m slow tests/system/faults/test_database.py -s
"""

import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from PIL import Image

from fcos.storage.store_conventions import Tag
from orchestration.tracking.problems import StoreUnavailable, TrackingError
from orchestration.tracking.tracker import require_store
from tests.helpers.experiments.sweeps import (
    ROOT,
    SHARED,
    environment,
    finished,
    loss_steps,
    points,
    runs,
    start,
    sweep,
    trials_of,
    wait_for,
)
from tests.helpers.processes.holding import Hold
from tests.helpers.processes.recording_driver import ARMS, Drivers, points_of
from tests.helpers.processes.waiting import PATIENCE, wait_until
from tests.helpers.servers.model_server import check_answer, model_server, run_command
from tests.helpers.servers.stored_drivers import check_stored
from tests.helpers.servers.tracking_server import Account, TrackingServer, tracking_server

pytestmark = pytest.mark.slow(minutes=3)

DRIVERS, TRAININGS = 8, 26
# Shares of all points at whose arrival the database ends all connections.
CUTS = (0.5, 0.6, 0.7, 0.8, 0.9)
STEPS = 100
LONGER = (f"schedule.steps={STEPS}", f"schedule.eval_every={STEPS}", "schedule.checkpoint_every=50")
# Steps at which the database goes away, and to which the training gets without it.
FIRST, WITHOUT = 20, 70


def own_data(number: int) -> str:
    """Data of one test alone: trainings of others on the same server would be reused."""
    return f"data.synthetic.seed={number}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingServer]:
    with tracking_server(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture(autouse=True)
def store(server: TrackingServer, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """The store as its user sees it; commands of the test are signed in as well."""
    for name, value in server.user.variables.items():
        monkeypatch.setenv(name, value)
    return MlflowClient(server.uri)


@pytest.mark.alone
@pytest.mark.timeout(6 * PATIENCE)
@pytest.mark.slow(minutes=6)
def test_eight_drivers_lose_nothing_where_the_database_goes_away(server: TrackingServer, tmp_path: Path) -> None:
    """Eight sweeps of 26 trainings report at once; the database is stopped for a third, and cut off five times."""
    drivers = Drivers(tmp_path, server.uri, DRIVERS, TRAININGS)
    total = len(points_of(0, 0, ARMS[0])) * DRIVERS * TRAININGS
    try:
        drivers.start()
        drivers.wait("begin")
        drivers.open("begin")
        drivers.wait("third")
        server.database.stop()
        drivers.open("third")
        # Nothing answers, and all of them get on.
        drivers.wait("two_thirds")
        server.database.start()
        drivers.open("two_thirds")
        drivers.wait("end")
        drivers.open("end")
        cut = []
        for share in CUTS:
            wait_until(lambda share=share: server.rows("SELECT count(*) FROM metrics")[0][0] >= share * total)  # type: ignore[misc]
            cut.append(server.database.cut_connections())
        results = drivers.join()
    finally:
        drivers.kill()
        server.database.kill()
        server.database.start()
    assert all(result.stored for result in results)
    calls = [seconds for result in results for seconds in result.calls]
    print(
        f"{len(calls)} calls: median {1000 * statistics.median(calls):.1f} ms, longest {1000 * max(calls):.0f} ms, "
        f"at most {max(sum(result.calls) for result in results):.1f} s in a driver; stored "
        f"{max(result.delivery_seconds for result in results):.0f} s after the last; connections cut: {cut}"
    )
    # What waits for a server that does not answer waits for as long as MLflow's client does, and twice.
    assert max(calls) < 10
    # Of a call that is given up; "Connection refused" is a reason to wait.
    assert " refused: " not in drivers.logs()
    check_stored(server, DRIVERS, TRAININGS)


def kinds(name: str, store: MlflowClient) -> dict[tuple[str, str], Run]:
    """The runs of a sweep that none superseded, by arm and seed; the sweep's own has neither."""
    found = runs(Path(), name, store).values()
    made = {(run.data.tags.get(Tag.ARM, ""), run.data.tags.get(Tag.SEED, "")): run for run in found}
    assert len(made) == len(found)
    return made


def check_whole(name: str, store: MlflowClient, steps: int) -> dict[tuple[str, str], Run]:
    """The sweep and both arms of its training are finished, with each point once."""
    found = kinds(name, store)
    assert {key: run.info.status for key, run in found.items()} == dict.fromkeys(
        [("", ""), ("none", "0"), ("from_regression", "0")], "FINISHED"
    )
    parent = found["", ""].info.run_id
    for arm in ("none", "from_regression"):
        run = found[arm, "0"]
        reported = [(key, step) for key, step, _ in points(run, store)]
        assert len(reported) == len(set(reported))
        assert [step for key, step in reported if key == "train/loss"] == list(range(2, steps + 1, 2))
        assert ("val/AP", steps) in reported
        assert run.data.tags["mlflow.parentRunId"] == parent
    return found


def check_no_password(server: TrackingServer, *folders: Path) -> None:
    """Neither files nor the database hold the password of the user."""
    secret = server.user.password.encode()
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert [path for path in files if secret in path.read_bytes()] == []
    for table in ("params", "tags", "experiment_tags"):
        assert server.rows(f"SELECT key FROM {table} WHERE value LIKE :value", value=f"%{server.user.password}%") == []


def start_held(folder: Path, hold: Hold, uri: str, name: str, data: str) -> "tuple[list[str], subprocess.Popen[str]]":
    """Start a sweep of one training, which waits at step FIRST, in an experiment of its name; return its words too."""
    words = [*SHARED, *LONGER, data, f"name={name}", f"tracking.uri={uri}", f"tracking.experiment={name}"]
    hold.at(FIRST)
    process = start(folder, *words)
    wait_for(hold.held, process)
    return words, process


@pytest.mark.parametrize(("end", "signed_in"), [("stopped", "by variables"), ("killed", "in the address")])
def test_a_sweep_goes_on_without_its_database(
    server: TrackingServer,
    store: MlflowClient,
    tmp_path: Path,
    hold: Hold,
    monkeypatch: pytest.MonkeyPatch,
    end: str,
    signed_in: str,
) -> None:
    uri = server.uri
    if signed_in == "in the address":
        uri = server.user.within(server.uri)
        for name in server.user.variables:
            monkeypatch.delenv(name)
    name = f"database_{end}"
    _, process = start_held(tmp_path, hold, uri, name, own_data(1 if end == "stopped" else 2))
    try:
        (server.database.stop if end == "stopped" else server.database.kill)()
        (trial,) = trials_of(tmp_path, name)
        hold.at(WITHOUT)
        wait_for(lambda: loss_steps(trial)[-1] == WITHOUT, process)
        assert process.poll() is None, process.communicate()
    finally:
        server.database.start()
    hold.release()
    output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, ""), output + errors
    assert "refused" not in output
    signed = MlflowClient(uri)
    check_whole(name, signed, STEPS)
    assert (tmp_path / "outputs" / name / "report" / "report.json").is_file()
    check_no_password(server, tmp_path / "outputs", server.artifacts)
    if signed_in == "by variables":
        check_registered(server, tmp_path, name, trial)


def check_registered(server: TrackingServer, folder: Path, name: str, trial: Path) -> None:
    """The best run becomes a version over HTTP, once, and MLflow serves it from there."""
    variables = {"MLFLOW_TRACKING_URI": server.uri}
    words = (str(ROOT / "orchestration" / "register.py"), name, "--name", "detector_of_server")
    assert "registered detector_of_server version 1, alias best" in run_command(folder, *words, variables=variables)
    again = run_command(folder, *words, variables=variables)
    assert "nothing new: these weights are detector_of_server version 1" in again
    photo = folder / "photo.png"
    Image.effect_noise((70, 50), 80).convert("RGB").save(photo)
    with model_server(folder, "models:/detector_of_server@best", {**environment(folder), **variables}) as address:
        check_answer(address, folder, trial, photo)


def table(folder: Path, name: str) -> str:
    """What the report of a sweep has in its table."""
    return (folder / "outputs" / name / "report" / "table.csv").read_text()


def repeated(folder: Path, *words: str) -> str:
    """What a command prints that has nothing left to train."""
    output = finished(folder, *words)
    assert "starts" not in output
    return output


def test_what_people_change_in_the_pages_costs_no_number(
    server: TrackingServer, store: MlflowClient, tmp_path: Path
) -> None:
    words = (*SHARED, own_data(3), "name=edited", f"tracking.uri={server.uri}", "tracking.experiment=edited")
    finished(tmp_path, *words)
    before, numbers = check_whole("edited", store, 12), table(tmp_path, "edited")
    first, second = (before[arm, "0"].info.run_id for arm in ("none", "from_regression"))
    # The sweep's run is deleted, one of its runs renamed and described, the other taken out of it.
    store.delete_run(before["", ""].info.run_id)
    store.update_run(first, name="our best")
    store.set_tag(first, "mlflow.note.content", "look at this")
    store.set_tag(first, "team", "vision")
    store.set_tag(second, "mlflow.parentRunId", "nothing")
    store.delete_tag(second, Tag.KIND)
    repeated(tmp_path, *words)
    after = check_whole("edited", store, 12)
    assert after["", ""].info.run_id != before["", ""].info.run_id
    assert {run.info.run_id for run in after.values()} >= {first, second}
    kept = after["none", "0"]
    assert (kept.info.run_name, kept.data.tags["mlflow.note.content"]) == ("our best", "look at this")
    assert kept.data.tags["team"] == "vision"
    assert table(tmp_path, "edited") == numbers
    # What says whose result it is.
    store.set_tag(second, Tag.IDENTITY, "another")
    repeated(tmp_path, *words)
    assert check_whole("edited", store, 12)["from_regression", "0"].info.run_id != second
    assert table(tmp_path, "edited") == numbers
    # What is parsed.
    store.set_tag(first, Tag.SEED, "three")
    assert f"run {first}: its tag {Tag.SEED}=three is no whole number" in repeated(tmp_path, *words)
    assert table(tmp_path, "edited") == numbers


def test_an_experiment_that_was_deleted_is_named_and_used_again_once_it_is_restored(
    server: TrackingServer, store: MlflowClient, tmp_path: Path
) -> None:
    words = (*SHARED, own_data(4), "name=restored", f"tracking.uri={server.uri}", "tracking.experiment=restored")
    finished(tmp_path, *words)
    before, numbers = check_whole("restored", store, 12), table(tmp_path, "restored")
    experiment = store.get_experiment_by_name("restored")
    assert experiment is not None
    # A new run of the sweep, while the one before it is deleted with its experiment.
    store.delete_run(before["", ""].info.run_id)
    repeated(tmp_path, *words)
    store.delete_experiment(experiment.experiment_id)
    done = sweep(tmp_path, *words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"error: tracking.experiment=restored: was deleted in {server.uri}" in done.stderr
    # MLflow brings back every run that was deleted.
    store.restore_experiment(experiment.experiment_id)
    repeated(tmp_path, *words)
    after = check_whole("restored", store, 12)
    assert table(tmp_path, "restored") == numbers
    old = store.get_run(before["", ""].info.run_id)
    assert old.info.lifecycle_stage == "active"
    assert old.data.tags[Tag.SUPERSEDED] == after["", ""].info.run_id


@pytest.mark.parametrize("deleted", ["run", "experiment"])
def test_what_is_deleted_while_a_sweep_runs_comes_back_by_the_same_command(
    server: TrackingServer, store: MlflowClient, tmp_path: Path, hold: Hold, deleted: str
) -> None:
    name = f"deleted_{deleted}"
    words, process = start_held(tmp_path, hold, server.uri, name, own_data(5 if deleted == "run" else 6))
    wait_until(lambda: len(kinds(name, store)) == 3)
    experiment = store.get_experiment_by_name(name)
    assert experiment is not None
    if deleted == "run":
        store.delete_run(kinds(name, store)["", ""].info.run_id)
    else:
        store.delete_experiment(experiment.experiment_id)
    hold.release()
    output, errors = process.communicate(timeout=PATIENCE)
    # The training ends; what the store does not take is said, and no report can be written of it.
    assert process.returncode == 1 and "Traceback" not in output + errors, output + errors
    assert "refused" in output + errors, output + errors
    (trial,) = trials_of(tmp_path, name)
    assert loss_steps(trial)[-1] == STEPS
    if deleted == "experiment":
        store.restore_experiment(experiment.experiment_id)
    repeated(tmp_path, *words)
    check_whole(name, store, STEPS)


def test_whoever_may_not_write_is_refused_with_the_reason(
    server: TrackingServer, store: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_store(server.uri, "of one user", tmp_path)
    other = Account("other")
    server.add(other)
    for name, value in other.variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrackingError, match=f"tracking.uri={server.uri}: the store refuses: .*403.*Permission denied"):
        require_store(server.uri, "of one user", tmp_path)
    require_store(server.uri, "of another user", tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "what it never was")
    with pytest.raises(StoreUnavailable, match=f"tracking.uri={server.uri}: the store refuses: .*401") as refused:
        require_store(server.uri, "of another user", tmp_path)
    assert "what it never was" not in str(refused.value)
    with pytest.raises(StoreUnavailable, match="401") as refused:
        require_store(Account("other", "never%2Fthis").within(server.uri), "of another user", tmp_path)
    assert "never" not in str(refused.value)
