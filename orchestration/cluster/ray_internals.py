"""Private modules of Ray, but for those of elastic_scaling.py: what there is no public call for.

Written for the Ray that `pyproject.toml` bounds; a new version is checked here.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def keep_sigterm_handler() -> Iterator[None]:
    """Keep the process's own handler of SIGTERM: ray.init installs ones that end it without a message.

    One of them is of Ray's C++ library and unknown to Python: it prints a stack, and its alarm aborts the process three
    seconds later, however far an orderly end has come.
    """
    from ray._private import utils

    before, own = utils.set_sigterm_handler, signal.getsignal(signal.SIGTERM)
    utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = before
        # None is a handler that was not installed by Python; only the main thread may install one.
        if own is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, own)


@contextmanager
def without_helpers() -> Iterator[None]:
    """Let ray.init start no process that only a cluster of several machines, or the dashboard, has a use for.

    The autoscaler's monitor, the monitor of log files that are printed nowhere, and the dashboard's process, which
    without a dashboard has one module, for statistics of use that are off. ray.init waits until that one answers, and
    ray.shutdown for the end of each: two seconds of the processor, and one second at the end.
    """
    from ray._private.node import Node

    names = ("start_monitor", "start_log_monitor", "start_api_server")
    before = {name: getattr(Node, name) for name in names}
    for name in names:
        setattr(Node, name, lambda *_, **__: None)
    try:
        yield
    finally:
        for name, method in before.items():
            setattr(Node, name, method)


@contextmanager
def inherited_environment() -> Iterator[None]:
    """Let the trials of Tune inherit the environment of a Ray on this machine, instead of one of their own.

    The processes that Ray starts ahead have none, and would be ended for others: a second of the processor for each.
    """
    from ray.tune.execution import class_cache

    before = class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE
    class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE = {}, set()
    try:
        yield
    finally:
        class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE = before


def draining_nodes() -> set[str]:
    """Return the ids of nodes that will be taken away, as Ray Train's own watcher reads them."""
    from ray._private.state import state

    return set(state.get_draining_nodes())


def free_on_staying_nodes() -> dict[str, dict[str, float]]:
    """Return what is free on each node that is alive and has no notice that it will be taken away, by its id."""
    from ray._private.state import state

    free = state.available_resources_per_node()
    return {node: free[node] for node in free.keys() - state.get_draining_nodes().keys()}


def load_nvml() -> Any:
    """Return the bindings of NVIDIA's management library that come with Ray, where the library finds GPUs.

    Raises the bindings' own error where it does not.
    """
    from ray._private.thirdparty import pynvml

    pynvml.nvmlInit()
    return pynvml


def resolve_address(address: str) -> str:
    """Return the host:port of a cluster address, as ray.init resolves it.

    Raises ConnectionError or ValueError where there is no such cluster.
    """
    from ray._private.services import canonicalize_bootstrap_address_or_die

    return str(canonicalize_bootstrap_address_or_die(address))


def has_local_node() -> bool:
    """Return whether a node of any Ray cluster runs on this machine, found as ray.init finds it."""
    from ray._private.services import find_node_ids

    return bool(find_node_ids())


def enable_token() -> str | None:
    """Let Ray send the user's token with every call; return the token, None where there is none.

    ray.init does this for address=auto only.
    """
    from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

    if not maybe_enable_token_auth_if_token_available(warn_if_disabled=False):
        return None
    return str(AuthenticationTokenLoader.instance().get_raw_token(ignore_auth_mode=True))


def plain_channel(gcs: str) -> Any:
    """Return a plain gRPC channel: Ray's own would send this process's token with every call."""
    import grpc
    from ray._common.tls_utils import load_certs_from_env

    options = [("grpc.enable_http_proxy", 0)]
    if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
        return grpc.insecure_channel(gcs, options=options)
    chain, key, authority = load_certs_from_env()
    return grpc.secure_channel(gcs, grpc.ssl_channel_credentials(authority, key, chain), options=options)


def listed_hosts(gcs: str, seconds: float) -> list[str]:
    """Return the hosts of a cluster without a token: its own, its nodes', its dashboard's."""
    from ray.core.generated import gcs_service_pb2 as messages
    from ray.core.generated import gcs_service_pb2_grpc as services

    with plain_channel(gcs) as channel:
        nodes = services.NodeInfoGcsServiceStub(channel).GetAllNodeInfo(
            messages.GetAllNodeInfoRequest(),  # type: ignore[attr-defined]
            timeout=seconds,
        )
        dashboard = services.InternalKVGcsServiceStub(channel).InternalKVGet(
            messages.InternalKVGetRequest(namespace=b"dashboard", key=b"dashboard"),  # type: ignore[attr-defined]
            timeout=seconds,
        )
    hosts = [gcs.rpartition(":")[0], *(node.node_manager_address for node in nodes.node_info_list)]
    return hosts + ([dashboard.value.decode().removeprefix("http://").rpartition(":")[0]] if dashboard.value else [])
