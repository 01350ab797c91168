"""Connecting to Ray: addresses, environment and import path."""

import json
import os
import socket
import subprocess
import sys
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fcos.errors import ConfigError
from fcos.installation import ROOT
from orchestration.cluster import connect
from orchestration.cluster.connect import _import_path, connected, health_check_timeout
from orchestration.cluster.resources import Node
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.config.schema import ClusterConfig


def test_an_unreachable_address_is_refused_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    message = rf"cluster\.address={address}: Ray cannot be reached: .*refused"
    with pytest.raises(ConfigError, match=message), connected(ClusterConfig(address=address), [], on_workers=False):
        pytest.fail("connected")


@pytest.mark.parametrize(
    "override", ["cluster.stall_minutes=0", "cluster.stall_minutes=soon", "cluster.stall_minute=3"]
)
def test_an_invalid_stall_time_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match="stall_minute"):
        compose(check_overrides(["+experiment=ablation_centerness", override]))


def test_ray_train_waits_no_longer_for_an_answer_than_a_stall_takes() -> None:
    key = "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"
    assert health_check_timeout(ClusterConfig()) == {key: "600"}
    assert health_check_timeout(ClusterConfig(stall_minutes=1)) == {key: "90"}
    assert health_check_timeout(ClusterConfig(stall_minutes=None)) == {}


def test_an_address_is_local_auto_or_host_and_port() -> None:
    message = "cluster.address=lokal: must be local, auto or host:port"
    with pytest.raises(ConfigError, match=message), connected(ClusterConfig(address="lokal"), [], on_workers=False):
        pytest.fail("connected")


def test_a_sweep_without_a_training_of_its_own_outlasts_a_warning_of_tune(monkeypatch: pytest.MonkeyPatch) -> None:
    """The warning is about the first trial of Tune, which such a sweep has not for as long as others train."""
    from ray.tune.execution import insufficient_resources_manager as tune

    names = ["TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S", "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S_AUTOSCALER"]
    for name in names:
        monkeypatch.setenv(name, connect.ENVIRONMENT[name])
    hours = count(step=3600)
    monkeypatch.setattr(tune, "time", SimpleNamespace(monotonic=lambda: float(next(hours))))
    for here in (False, True):
        monkeypatch.setattr(tune, "_is_ray_cluster", lambda here=here: here)
        tune._get_insufficient_resources_warning_threshold.cache_clear()
        manager = tune._InsufficientResourcesManager()
        for _ in range(4):
            manager.on_no_available_trials([])
    assert next(hours) > 0, "it looks at the time"


@pytest.mark.parametrize(("named", "warned"), [("192.0.2.1:6379", True), ("local", False), ("", False), (None, False)])
def test_a_cluster_that_the_environment_names_and_the_config_does_not_join_is_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, named: str | None, warned: bool
) -> None:
    monkeypatch.setattr(os, "environ", {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"})
    if named is not None:
        os.environ["RAY_ADDRESS"] = named

    def init(**settings: Any) -> None:
        raise RuntimeError(f"started {settings['address']}")

    monkeypatch.setattr("ray.init", init)
    cluster = ClusterConfig()
    with pytest.raises(ConfigError, match="started local"), connected(cluster, [Node(1)], on_workers=False):
        pytest.fail("connected")
    assert ("RAY_ADDRESS=192.0.2.1:6379 is not used" in caplog.text) is warned


def test_a_folder_with_another_package_of_our_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray puts the current folder first on the path of its processes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fcos").mkdir()
    cluster = ClusterConfig(address="lokal")
    with pytest.raises(ConfigError, match="must be local"), connected(cluster, [], on_workers=False):
        pytest.fail("connected")
    (tmp_path / "fcos" / "__init__.py").touch()
    refused = rf"{tmp_path}/fcos: Ray's processes would import this package instead of {ROOT}/fcos"
    with pytest.raises(ConfigError, match=refused), connected(cluster, [], on_workers=False):
        pytest.fail("connected")


def test_rays_processes_import_a_checkout_first_and_find_a_wheel_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/mine")
    assert _import_path() == {"PYTHONPATH": f"{ROOT}{os.pathsep}/mine"}
    monkeypatch.setattr(connect, "checkout", lambda: None)
    assert _import_path() == {"PYTHONPATH": "/mine"}
    monkeypatch.delenv("PYTHONPATH")
    assert _import_path() == {}


JOB = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "7",
    "PYTHONPATH": "/of/the/job",
    "OWN": "x",
}


@pytest.mark.parametrize("env_vars", [JOB, {}, None], ids=["with variables", "with none", "without an environment"])
def test_a_submitted_job_gets_one_environment_of_its_own_and_ours(
    monkeypatch: pytest.MonkeyPatch, env_vars: dict[str, str] | None
) -> None:
    """Ray's own merge takes what `connected` hands over inside of a job; a variable that the job sets stands."""
    from ray.runtime_env.runtime_env import _merge_runtime_env

    with socket.socket() as head:
        head.bind(("127.0.0.1", 0))
        head.listen()
        monkeypatch.setattr(os, "environ", dict(os.environ))
        of_job: Any = {} if env_vars is None else {"env_vars": env_vars, "working_dir": "gcs://x.zip"}
        os.environ["RAY_JOB_CONFIG_JSON_ENV_VAR"] = json.dumps({"runtime_env": of_job, "metadata": {}})
        os.environ["PYTHONPATH"] = "/of/the/job"
        merged: list[Any] = []

        def init(**settings: Any) -> None:
            override = os.environ.get("RAY_OVERRIDE_JOB_RUNTIME_ENV") == "1"
            merged.append(_merge_runtime_env(of_job, settings["runtime_env"], override=override))
            raise RuntimeError("joined")

        monkeypatch.setattr("ray.init", init)
        monkeypatch.setattr("orchestration.cluster.connect.check_cluster", lambda address, **_: address)
        cluster = ClusterConfig(address=f"127.0.0.1:{head.getsockname()[1]}")
        with pytest.raises(ConfigError, match="joined"), connected(cluster, [], on_workers=False):
            pytest.fail("connected")
    assert merged[0] is not None
    variables = merged[0]["env_vars"]
    assert variables["PYTHONPATH"].split(os.pathsep) == [str(ROOT), "/of/the/job"]
    assert variables["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] == ("7" if env_vars else "0.1")
    assert {name: variables[name] for name in env_vars or {} if name != "PYTHONPATH"} == {
        name: value for name, value in (env_vars or {}).items() if name != "PYTHONPATH"
    }
    assert merged[0].get("working_dir") == of_job.get("working_dir")


SIGNALLED = """
import os, signal
from orchestration.cluster.connect import connected, local_nodes
from orchestration.config.schema import ClusterConfig

caught = []
signal.signal(signal.SIGTERM, lambda number, frame: caught.append(number))
cluster = ClusterConfig()
with connected(cluster, local_nodes(cluster), on_workers=False):
    os.kill(os.getpid(), signal.SIGTERM)
    while not caught:
        pass
print(caught, signal.alarm(0))
"""


@pytest.mark.ray
def test_a_sigterm_goes_to_the_own_handler_alone_while_ray_runs(tmp_path: Path) -> None:
    # Ray's own prints a stack and sets an alarm that aborts the process.
    done = subprocess.run([sys.executable, "-c", SIGNALLED], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("[15] 0\n", "", 0)


PRELOADED = """
import os, sys
from orchestration.cluster.connect import connected
from orchestration.cluster.resources import Node
from orchestration.config.schema import ClusterConfig

def found():
    torch = sys.modules.get("torch")
    return "orchestration.trial.run" in sys.modules, torch and torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]

before, cpus = os.environ.get("OMP_NUM_THREADS"), int(sys.argv[1])
with connected(ClusterConfig(cpus_per_worker=cpus), [Node(2)], on_workers=False):
    import ray
    print(*ray.get(ray.remote(num_cpus=cpus)(found).remote()))
assert os.environ.get("OMP_NUM_THREADS") == before
"""


@pytest.mark.ray
@pytest.mark.parametrize(
    ("cpus", "threads", "expected"), [(1, None, "True 1 1"), (1, "2", "True 2 2"), (2, None, "False None 2")]
)
def test_processes_of_a_local_ray_have_what_trains_before_a_training_is_given_to_them(
    tmp_path: Path, cpus: int, threads: str | None, expected: str
) -> None:
    """Not where trainings take several processors: more processes start than would use it."""
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    env |= {} if threads is None else {"OMP_NUM_THREADS": threads}
    command = [sys.executable, "-c", PRELOADED, str(cpus)]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == (f"{expected}\n", "", 0)
