"""What a database has of the drivers of `tests/helpers/processes/recording_driver.py`."""

from tests.helpers.processes.recording_driver import ARMS, points_of, sweep_name
from tests.helpers.servers.tracking_server import TrackingServer

# Every point of the drivers' runs, with whose it is.
STORED = """
SELECT sweep.value, arm.value, seed.value, metrics.key, metrics.step, metrics.value FROM metrics
JOIN tags sweep ON sweep.run_uuid = metrics.run_uuid AND sweep.key = 'fcos.sweep'
JOIN tags arm ON arm.run_uuid = metrics.run_uuid AND arm.key = 'fcos.arm'
JOIN tags seed ON seed.run_uuid = metrics.run_uuid AND seed.key = 'fcos.seed'
WHERE sweep.value LIKE 'driver%'
"""
# Their runs: state, and how many params, inputs and tags each has.
RECORDED = """
SELECT runs.status, runs.lifecycle_stage,
  (SELECT count(*) FROM params WHERE params.run_uuid = runs.run_uuid),
  (SELECT count(*) FROM inputs WHERE inputs.destination_id = runs.run_uuid),
  (SELECT count(*) FROM tags parent JOIN tags sweep ON sweep.run_uuid = parent.value AND sweep.key = 'fcos.sweep'
    WHERE parent.run_uuid = runs.run_uuid AND parent.key = 'mlflow.parentRunId' AND sweep.value = own.value)
FROM runs JOIN tags own ON own.run_uuid = runs.run_uuid AND own.key = 'fcos.sweep'
WHERE own.value LIKE 'driver%' AND EXISTS
  (SELECT 1 FROM tags kind WHERE kind.run_uuid = runs.run_uuid AND kind.key = 'fcos.kind' AND kind.value = :kind)
"""


def check_stored(server: TrackingServer, drivers: int, trainings: int) -> None:
    """The database has every point of drivers of so many trainings each once, and whole runs, none of them twice."""
    found = sorted((sweep, arm, int(seed), *rest) for sweep, arm, seed, *rest in server.rows(STORED))
    expected = sorted(
        (sweep_name(number), arm, seed, key, step, value)
        for number in range(drivers)
        for seed in range(trainings // len(ARMS))
        for arm in ARMS
        for (key, step), value in points_of(number, seed, arm).items()
    )
    lost, twice = len(set(expected) - set(found)), len(found) - len(set(found))
    print(f"{len(expected)} points: {lost} lost, {twice} twice")
    assert found == expected
    trials = server.rows(RECORDED, kind="trial")
    num_params = trials[0][2]
    assert num_params > 50
    assert [tuple(row) for row in trials] == [("FINISHED", "active", num_params, 2, 1)] * (drivers * trainings)
    assert [tuple(row)[:2] for row in server.rows(RECORDED, kind="sweep")] == [("FINISHED", "active")] * drivers
    files = [path.name for path in server.artifacts.rglob("*.json")]
    assert (files.count("config.json"), files.count("versions.json")) == (len(trials), len(trials))
