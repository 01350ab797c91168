"""Start Ray on this machine or join a cluster, without console output, and disconnect."""

import gc
import json
import logging
import os
import secrets
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from fcos.errors import ConfigError
from fcos.installation import ROOT, checkout
from orchestration.cluster.authentication import check_cluster
from orchestration.cluster.listening import connection_error
from orchestration.cluster.ray_internals import keep_sigterm_handler, without_helpers
from orchestration.cluster.resources import Node, demand, max_concurrent
from orchestration.config.processors import usable_cpus
from orchestration.config.schema import ClusterConfig


def checked_local_nodes(cluster: ClusterConfig) -> list[Node] | None:
    """Return this machine as the only node; None where a running cluster is to be joined.

    Raises ConfigError for a training that does not fit on this machine.
    """
    if cluster.address != "local":
        return None
    nodes = local_nodes(cluster)
    max_concurrent(nodes, demand(cluster, nodes), cluster.concurrent)
    return nodes


# Environment of Ray and its processes, where the default is unsuitable.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Under `uv run`, Ray would upload the current folder with all outputs, and fail on files that change meanwhile.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # Workers stay in the current folder of the command, against which relative paths in a config are resolved.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # The patch would print every line twice.
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    # Each poll passes one report on; the default interval is 2 s.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",
    # Preemption notices come 30 s or more ahead.
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",
    # How long Ray waits for workers to start before it reconsiders their number.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20",
    # No CSV, JSON and TensorBoard files of Tune: metrics are in MLflow and in the run folders.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # This package handles Ctrl-C itself; Tune would delay the end of the sweep.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Tune's state is never restored: a rerun starts from the sweep's own plan and checkpoints.
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    # Trials run one after another in one process, each in a new thread. With one malloc arena per thread, memory
    # that one trial freed could not be used by the next.
    "MALLOC_ARENA_MAX": "2",
    # What a step frees the next one needs again. Given back to the system in between (from 128 KiB on by default), it
    # comes as thousands of fresh pages a step, which are zeroed first: a sixth of the embedded training's time.
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TOP_PAD_": str(64 << 20),
    # What Tune sets for its trials.
    "PL_DISABLE_FORK": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    # A sweep that has begun no training yet, as other commands train all of them, ends in this warning with an
    # IndexError, half an hour after its start: Tune names the first of its trials there.
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "inf",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S_AUTOSCALER": "inf",
}

# The processes that Ray starts ahead wait for the first trainings; by default they end after a second, once the
# processors are reserved for those.
KEPT_WORKERS = {"RAY_idle_worker_killing_time_threshold_ms": "60000"}
# They import what trains while the driver imports Tune; Ray would set their threads when a training is given to them,
# which is too late for torch then.
PRELOAD = {"RAY_preload_python_modules": "fcos.training_run,orchestration.trial.run", "OMP_NUM_THREADS": "1"}
CONNECT_SECONDS = 10.0
# Packages that Ray's processes import.
PACKAGES = ("fcos", "orchestration")


def local_nodes(cluster: ClusterConfig) -> list[Node]:
    """Return this machine's resources; GPUs are counted only where the config requests them."""
    gpus = 0
    if cluster.gpus_per_worker:
        import torch

        gpus = torch.cuda.device_count()
    return [Node(usable_cpus(), gpus)]


@contextmanager
def connected(cluster: ClusterConfig, nodes: list[Node], *, on_workers: bool) -> Iterator[list[Node]]:
    """Start Ray on this machine or join a cluster; yield its nodes.

    Raises ConfigError where the cluster cannot be reached or is not safe to join (see `check_cluster`), and where the
    current folder holds other packages of the same names (see `_check_current_folder`).
    """
    _check_current_folder()
    local, address = cluster.address == "local", cluster.address
    environment = {**ENVIRONMENT, **health_check_timeout(cluster)}
    settings: dict[str, Any] = {"logging_level": logging.CRITICAL, "log_to_driver": False}
    if local:
        _note_unused_address()
        # Every process of a local Ray inherits it; a runtime environment would cost start-up time.
        os.environ.update({**environment, **({} if on_workers else KEPT_WORKERS), **_import_path()})
        settings |= _local_settings(nodes[0], cluster, on_workers)
    else:
        _check_reachable(cluster.address)
        environment |= _set_by_job(environment)
        os.environ.update(environment)
        logging.getLogger("ray").setLevel(logging.CRITICAL)
        address = check_cluster(address, allow_unauthenticated=cluster.allow_unauthenticated)
        # A submitted job already has a runtime environment; without this, Ray rejects a second one that sets the same
        # variables.
        os.environ["RAY_OVERRIDE_JOB_RUNTIME_ENV"] = "1"
        settings |= {"runtime_env": {"env_vars": {**environment, **_import_path()}}}
    # Ray reads its environment when it is imported.
    import ray

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    # Ray Train ends a training on workers through the dashboard.
    is_lean = local and not on_workers
    try:
        with (
            keep_sigterm_handler(),
            without_helpers() if is_lean else nullcontext(),
            _preloading() if is_lean and _is_one_processor_each(cluster) else nullcontext(),
        ):
            ray.init(address=address, **settings)
    except Exception as error:  # Ray raises a bare Exception when its start times out
        what = "Ray does not start on this machine" if local else "Ray cannot be reached"
        raise ConfigError(f"cluster.address={cluster.address}: {what}: {error}") from None
    try:
        yield nodes if local else _nodes(ray.nodes())
    finally:
        # Handles of actors in reference cycles, such as those of errors: freed while Ray ends, they end this process.
        gc.collect()
        ray.shutdown()


def _is_one_processor_each(cluster: ClusterConfig) -> bool:
    """Return whether trainings take one processor and no GPU: Ray starts as many processes ahead as can train."""
    return cluster.cpus_per_worker == 1 and not cluster.gpus_per_worker


@contextmanager
def _preloading() -> Iterator[None]:
    """Give PRELOAD to the processes of the Ray that starts meanwhile, but for what the environment sets itself."""
    added = {name: value for name, value in PRELOAD.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _check_current_folder() -> None:
    """Raise ConfigError where the current folder holds other packages named as PACKAGES.

    Ray puts the current folder first on the import path of its processes, which would import them.
    """
    for name in PACKAGES:
        other = Path.cwd() / name / "__init__.py"
        if other.is_file() and other.resolve() != ROOT / name / "__init__.py":
            raise ConfigError(
                f"{other.parent}: Ray's processes would import this package instead of {ROOT / name}; start the "
                "command from another folder"
            )


def _note_unused_address() -> None:
    """Log a warning where a Ray is started although the environment names a cluster, such as inside of a job."""
    named = os.environ.get("RAY_ADDRESS", "local")
    if named not in ("", "local"):
        text = "cluster.address=local starts a Ray of its own, RAY_ADDRESS=%s is not used; cluster=many_nodes joins it"
        logging.getLogger(__name__).warning(text, named)


def head_address(cluster: ClusterConfig) -> str | None:
    """Return host:port of the joined cluster's head node; None for a local Ray."""
    import ray

    return None if cluster.address == "local" else str(ray.get_runtime_context().gcs_address)


def _check_reachable(address: str) -> None:
    """Raise ConfigError where nothing listens at host:port, which Ray would retry for minutes with console output.

    Nothing is checked for auto, which Ray resolves quickly.
    """
    _, colon, port = address.rpartition(":")
    if address == "auto":
        return
    if not colon or not port.isdecimal():
        raise ConfigError(f"cluster.address={address}: must be local, auto or host:port")
    error = connection_error(address, CONNECT_SECONDS)
    if error is not None:
        raise ConfigError(f"cluster.address={address}: Ray cannot be reached: {error}")


def health_check_timeout(cluster: ClusterConfig) -> dict[str, str]:
    """Return the environment variable for Ray Train's health check timeout.

    Ten minutes, or the stall time and 30 s where that is less.
    """
    if cluster.stall_seconds is None:
        return {}
    return {"RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": f"{min(600.0, cluster.stall_seconds + 30):g}"}


def _set_by_job(names: Iterable[str]) -> dict[str, str]:
    """Return those of some variables that the runtime environment of a submitted job sets, which take precedence."""
    job_config = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    variables = (job_config.get("runtime_env") or {}).get("env_vars") or {}
    return {name: variables[name] for name in names if name in variables}


def _import_path() -> dict[str, str]:
    """Return the PYTHONPATH of Ray's processes: this process's own, with the checkout first where there is one.

    They must import this checkout even where another one, or a wheel, is installed on their node. An installed wheel
    needs no entry, and site-packages ahead of the standard library could shadow its modules.
    """
    root = checkout()
    paths = [*([] if root is None else [str(root)]), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))} if paths else {}


def _local_settings(node: Node, cluster: ClusterConfig, on_workers: bool) -> dict[str, Any]:
    # A token for this process only: nothing is written to the home folder, and no one else can submit jobs. Without
    # a token everyone could, as Ray listens on all addresses of the machine.
    if not cluster.allow_unauthenticated:
        os.environ["RAY_AUTH_MODE"] = "token"
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    settings: dict[str, Any] = {
        "num_cpus": int(node.cpus),
        "num_gpus": int(node.gpus),
        "include_dashboard": on_workers,
        # Only small objects pass through the object store.
        "object_store_memory": 200 * 2**20,
    }
    if on_workers:
        # Ray Train frees the resources of a stopped training through the dashboard's API, and uses the wrong address
        # for it when a second Ray runs on the machine.
        port = _free_port()
        os.environ["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{port}"
        settings |= {"dashboard_host": "127.0.0.1", "dashboard_port": port}
    return settings


def _free_port() -> int:
    """Return a random free loopback port below 10002, where Ray's range of worker ports begins.

    Random, because another sweep that starts at the same time would choose the same first one.
    """
    ports = range(8265, 10002)
    for port in secrets.SystemRandom().sample(ports, len(ports)):
        with socket.socket() as candidate:
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ConfigError("no free port between 8265 and 10001 for Ray's dashboard")


def _nodes(ray_nodes: list[dict[str, Any]]) -> list[Node]:
    alive = [node["Resources"] for node in ray_nodes if node["Alive"]]
    return [Node(resources.get("CPU", 0), resources.get("GPU", 0)) for resources in alive]
