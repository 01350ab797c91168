"""Who may use a Ray cluster: whether it asks for a token, where it can be reached, and who can read the token here."""

import ipaddress
import logging
import os
import socket
from pathlib import Path
from typing import Any

from fcos.errors import ConfigError

TRIES_SECONDS = 10.0
KNOCK_SECONDS = 1.0
OPEN_TO_OTHERS = 0o077
ADVICE = "see docs/clusters.md, or give cluster.allow_unauthenticated=true if that network is yours alone"


def check_cluster(address: str, *, allow_unauthenticated: bool) -> str:
    """Hold a running cluster (auto or host:port) against what is safe to join; returns its host:port.

    Where it asks for a token, this process gives ours from now on, and a token file that others can read is made
    private. Raises ConfigError where no cluster answers, where our token is missing or wrong, and where the cluster
    asks for none although more than this machine reaches it.
    """
    gcs = _find(address)
    if asks_for_token(gcs):
        _use_token(address, gcs)
    elif reached := reached_at(gcs):
        told = f"cluster.address={address}: this cluster asks for no token and is reached at {', '.join(reached[:3])}"
        if not allow_unauthenticated:
            raise ConfigError(
                f"{told}, where anybody can run code as its owner; start it with RAY_AUTH_MODE=token, {ADVICE}"
            )
        logging.getLogger(__name__).warning("%s; cluster.allow_unauthenticated=true lets it pass", told)
    return gcs


def asks_for_token(gcs: str, token: str | None = None) -> bool:
    """Whether a cluster turns away a call without a token, or with this one.

    Raises ConfigError where nothing answers that is a Ray cluster.
    """
    import grpc

    metadata = [("authorization", f"Bearer {token}")] if token else None
    with _channel(gcs) as channel:
        ask = channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetClusterId")
        try:
            ask(b"", timeout=TRIES_SECONDS, metadata=metadata)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                return True
            raise ConfigError(
                f"cluster.address={gcs}: Ray cannot be reached: {error.code().name}: {error.details()}"
            ) from None
    return False


def reached_at(gcs: str) -> list[str]:
    """Where else than on loopback a cluster without a token is reached: its nodes, its dashboard, its own port here."""
    from ray.core.generated import gcs_service_pb2 as messages
    from ray.core.generated import gcs_service_pb2_grpc as services

    with _channel(gcs) as channel:
        every = services.NodeInfoGcsServiceStub(channel).GetAllNodeInfo(
            messages.GetAllNodeInfoRequest(),  # type: ignore[attr-defined]
            timeout=TRIES_SECONDS,
        )
        kept = services.InternalKVGcsServiceStub(channel).InternalKVGet(
            messages.InternalKVGetRequest(namespace=b"dashboard", key=b"dashboard"),  # type: ignore[attr-defined]
            timeout=TRIES_SECONDS,
        )
    hosts = [gcs.rpartition(":")[0], *(node.node_manager_address for node in every.node_info_list)]
    hosts += [kept.value.decode().removeprefix("http://").rpartition(":")[0]] if kept.value else []
    found = [host for host in hosts if not is_loopback(host)]
    # A cluster whose nodes all say 127.0.0.1 may listen at every address of this machine all the same.
    found += [f"{host}:{gcs.rpartition(':')[2]}" for host in own_addresses() if _answers(host, gcs.rpartition(":")[2])]
    return list(dict.fromkeys(found))


def is_loopback(host: str) -> bool:
    """Whether every address of a host leads to this machine alone."""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host.strip("[]"), None)}
    except OSError:
        return False
    return all(ipaddress.ip_address(str(address).partition("%")[0]).is_loopback for address in found)


def own_addresses() -> list[str]:
    """The addresses at which other machines see this one."""
    import ray  # noqa: F401  # brings psutil along
    import psutil  # isort: skip

    families = (socket.AF_INET, socket.AF_INET6)
    all_of_them = [each for addresses in psutil.net_if_addrs().values() for each in addresses]
    hosts = [each.address for each in all_of_them if each.family in families]
    return [host for host in hosts if not ipaddress.ip_address(host.partition("%")[0]).is_loopback]


def token_file() -> Path | None:
    """The file that Ray takes the token from, None where it is in the environment or there is none."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return None
    # Not Path.home(), which raises for a user without one.
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or os.path.expanduser("~/.ray/auth_token"))  # noqa: PTH111
    return path if path.is_file() else None


def tighten(path: Path) -> str | None:
    """Make a token file private; returns what is to be said of it. Raises ConfigError where that is not possible."""
    mode = path.stat().st_mode & 0o777
    if not mode & OPEN_TO_OTHERS:
        return None
    try:
        path.chmod(0o600)
    except OSError:
        raise ConfigError(f"{path}: others can read this token (mode {mode:03o}); it must have mode 600") from None
    return f"{path}: others could read this token (mode {mode:03o}); its mode is 600 now"


def _use_token(address: str, gcs: str) -> None:
    """Have Ray give our token from now on; raises ConfigError where there is none or it is not the cluster's."""
    from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

    if (path := token_file()) is not None and (note := tighten(path)) is not None:
        logging.getLogger(__name__).warning("%s", note)
    told = f"cluster.address={address}: this cluster asks for a token"
    # What ray.init does for address=auto alone.
    if not maybe_enable_token_auth_if_token_available(warn_if_disabled=False):
        raise ConfigError(
            f"{told}, and there is none here: put it into ~/.ray/auth_token (mode 600) or RAY_AUTH_TOKEN, "
            "and leave RAY_AUTH_MODE unset or at token"
        )
    token = AuthenticationTokenLoader.instance().get_raw_token(ignore_auth_mode=True)
    if asks_for_token(gcs, token):
        source = "RAY_AUTH_TOKEN" if path is None else str(path)
        raise ConfigError(f"{told}, and does not take the one in {source}; take the cluster's own")


def _channel(gcs: str) -> Any:
    """A plain gRPC channel: Ray's own would give the token of this process with every call."""
    import grpc
    from ray._common.tls_utils import load_certs_from_env

    options = [("grpc.enable_http_proxy", 0)]
    if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
        return grpc.insecure_channel(gcs, options=options)
    chain, key, authority = load_certs_from_env()
    return grpc.secure_channel(gcs, grpc.ssl_channel_credentials(authority, key, chain), options=options)


def _find(address: str) -> str:
    """The host:port behind an address, as Ray would find it."""
    from ray._private.services import canonicalize_bootstrap_address_or_die

    try:
        return str(canonicalize_bootstrap_address_or_die(address))
    except (ConnectionError, ValueError) as error:
        raise ConfigError(f"cluster.address={address}: Ray cannot be reached: {error}") from None


def _answers(host: str, port: str) -> bool:
    try:
        socket.create_connection((host, int(port)), timeout=KNOCK_SECONDS).close()
    except OSError:
        return False
    return True
