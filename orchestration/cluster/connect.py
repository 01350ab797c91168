"""Start or join Ray, quietly, and leave it."""

import gc
import json
import logging
import os
import secrets
import signal
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fcos.errors import ConfigError
from fcos.installation import ROOT, checkout
from orchestration.cluster.authentication import check_cluster
from orchestration.cluster.resources import Node, demand, max_concurrent
from orchestration.config.schema import ClusterConfig
from orchestration.experiment.provenance import usable_cpus


def fit(cluster: ClusterConfig) -> list[Node] | None:
    """This machine, which holds at least one training; None where only a running cluster knows.

    Raises ConfigError for a training that can never fit.
    """
    if cluster.address != "local":
        return None
    nodes = local_nodes(cluster)
    max_concurrent(nodes, demand(cluster, nodes), cluster.concurrent)
    return nodes


# Read by Ray and its processes; each is here because its default hurts us.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Under `uv run` it would pack the folder of the command, outputs and all, and trip over files that come and go.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # Workers stay in the folder of the command, so that relative paths in a config mean one thing.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # The patch prints every line twice.
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    # One report passes per poll, and the default poll is 2 s.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",
    # A notice that a machine will be taken away comes 30 s or more ahead.
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",
    # How long workers are waited for before Ray looks again how many there may be.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20",
    # Tune's own CSV, JSON and TensorBoard files: MLflow and our folders hold the numbers.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Ctrl-C ends the sweep here, at once, and not at Tune's leisure.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Its state is never restored from: a rerun starts from our own plan and checkpoints.
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    # Trials follow each other in one process, each in a new thread: with an arena of its own for every thread,
    # what one trial has freed is no use to the next.
    "MALLOC_ARENA_MAX": "2",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}

KNOCK_SECONDS = 10.0
# What Ray's processes import of ours.
PACKAGES = ("fcos", "orchestration")


def local_nodes(cluster: ClusterConfig) -> list[Node]:
    """What this machine offers; GPUs are counted only where a config asks for them."""
    gpus = 0
    if cluster.gpus_per_worker:
        import torch

        gpus = torch.cuda.device_count()
    return [Node(usable_cpus(), gpus)]


@contextmanager
def connected(cluster: ClusterConfig, nodes: list[Node], *, on_workers: bool) -> Iterator[list[Node]]:
    """Start Ray on this machine or join a cluster; yields the machines it has.

    Raises ConfigError where the cluster cannot be reached or should not be joined (see `check_cluster`), and in a
    folder with other packages of our names.
    """
    _check_current_folder()
    local, address = cluster.address == "local", cluster.address
    environment = {**ENVIRONMENT, **patience(cluster)}
    settings: dict[str, Any] = {"logging_level": logging.CRITICAL, "log_to_driver": False}
    if local:
        # Inherited by every process of a local Ray; a runtime environment would cost start-up time.
        os.environ.update({**environment, **_import_path()})
        settings |= _local_settings(nodes[0], cluster, on_workers)
    else:
        _require_answer(cluster.address)
        environment |= _set_by_job(environment)
        os.environ.update(environment)
        logging.getLogger("ray").setLevel(logging.CRITICAL)
        address = check_cluster(address, allow_unauthenticated=cluster.allow_unauthenticated)
        # A submitted job has a runtime environment already, and Ray takes no second one with a variable of the first,
        # unless it is allowed to.
        os.environ["RAY_OVERRIDE_JOB_RUNTIME_ENV"] = "1"
        settings |= {"runtime_env": {"env_vars": {**environment, **_import_path()}}}
    # Ray reads its environment when it is imported.
    import ray

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, **settings)
        # Ray takes the signal for itself and would end this process without a word.
        signal.signal(signal.SIGTERM, on_sigterm)
    except Exception as error:  # a start that takes too long, for one, is a bare Exception
        what = "Ray does not start on this machine" if local else "Ray cannot be reached"
        raise ConfigError(f"cluster.address={cluster.address}: {what}: {error}") from None
    try:
        yield nodes if local else _nodes(ray.nodes())  # type: ignore[no-untyped-call]
    finally:
        # Handles of actors in reference cycles, such as those of errors: freed while Ray ends, they end this process.
        gc.collect()
        ray.shutdown()


def _check_current_folder() -> None:
    """Raise ConfigError in a folder that holds other packages of our names.

    Ray puts the folder of a command first on the path of its processes, which would import them.
    """
    for name in PACKAGES:
        other = Path.cwd() / name / "__init__.py"
        if other.is_file() and other.resolve() != ROOT / name / "__init__.py":
            raise ConfigError(
                f"{other.parent}: Ray's processes would import this package instead of {ROOT / name}; start the "
                "command from another folder"
            )


def head_of(cluster: ClusterConfig) -> str | None:
    """host:port of the head of a cluster that was joined."""
    import ray

    return None if cluster.address == "local" else str(ray.get_runtime_context().gcs_address)


def _require_answer(address: str) -> None:
    """Ray would knock at a silent host:port for minutes, and loudly; auto it finds out by itself."""
    host, colon, port = address.rpartition(":")
    if address == "auto":
        return
    if not colon or not port.isdecimal():
        raise ConfigError(f"cluster.address={address}: must be local, auto or host:port")
    try:
        socket.create_connection((host, int(port)), timeout=KNOCK_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"cluster.address={address}: Ray cannot be reached: {error}") from None


def patience(cluster: ClusterConfig) -> dict[str, str]:
    """How long Ray Train waits for a worker that does not answer: ten minutes, or less where a stall is told sooner."""
    if cluster.stall_seconds is None:
        return {}
    return {"RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": f"{min(600.0, cluster.stall_seconds + 30):g}"}


def _set_by_job(names: Iterable[str]) -> dict[str, str]:
    """Return those of some variables that the runtime environment of a submitted job sets; its values stand."""
    described = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    variables = (described.get("runtime_env") or {}).get("env_vars") or {}
    return {name: variables[name] for name in names if name in variables}


def _import_path() -> dict[str, str]:
    """Return the PYTHONPATH of Ray's processes: this process's own, with the checkout first where there is one.

    They must import this checkout even where another one, or a wheel, is installed on their node. An installed wheel
    needs no entry, and site-packages before the standard library could hide its modules.
    """
    root = checkout()
    paths = [*([] if root is None else [str(root)]), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))} if paths else {}


def _local_settings(node: Node, cluster: ClusterConfig, on_workers: bool) -> dict[str, Any]:
    # A token of this process alone: nothing is written to the home folder, nobody else can submit. Without one
    # everybody could, as Ray listens at all addresses of the machine.
    if not cluster.allow_unauthenticated:
        os.environ["RAY_AUTH_MODE"] = "token"
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    settings: dict[str, Any] = {
        "num_cpus": int(node.cpus),
        "num_gpus": int(node.gpus),
        "include_dashboard": on_workers,
        # Nothing big passes through the object store.
        "object_store_memory": 200 * 2**20,
    }
    if on_workers:
        # Ray Train frees the resources of a stopped training through the dashboard's API, and looks for it
        # at the wrong place when a second Ray runs on the machine.
        port = _free_port()
        os.environ["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{port}"
        settings |= {"dashboard_host": "127.0.0.1", "dashboard_port": port}
    return settings


def _free_port() -> int:
    """A free loopback port below 10002, where Ray's range of worker ports begins.

    Not the first one: that is also the first one of another sweep that starts at this moment.
    """
    ports = range(8265, 10002)
    for port in secrets.SystemRandom().sample(ports, len(ports)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ConfigError("no free port between 8265 and 10001 for Ray's dashboard")


def _nodes(described: list[dict[str, Any]]) -> list[Node]:
    alive = [node["Resources"] for node in described if node["Alive"]]
    return [Node(resources.get("CPU", 0), resources.get("GPU", 0)) for resources in alive]
