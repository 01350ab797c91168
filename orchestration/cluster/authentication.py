"""Access control of a Ray cluster: whether it requires a token, where it is reachable, who can read the token file."""

import ipaddress
import logging
import socket
import time
from pathlib import Path

import psutil

from fcos.errors import ConfigError
from orchestration.cluster.listening import connection_error
from orchestration.cluster.ray_internals import (
    enable_token,
    has_local_node,
    listed_hosts,
    plain_channel,
    resolve_address,
)
from orchestration.cluster.ray_token import token_file

RPC_SECONDS = 10.0
CONNECT_SECONDS = 1.0
# Time for a node that is being started.
NODE_SECONDS = 10.0
OTHERS_MASK = 0o077
OWN_NODE = "start the command on a node of the cluster, or submit it with `ray job submit` (docs/clusters.md)"
ADVICE = "see docs/clusters.md, or give cluster.allow_unauthenticated=true if that network is yours alone"


def check_cluster(address: str, *, allow_unauthenticated: bool) -> str:
    """Check that a running cluster (auto or host:port) is safe to join; return its host:port.

    Where it requires a token, this process sends the user's from now on, and a token file that others can read is made
    private. Raises ConfigError where no cluster responds, where the token is missing or wrong, where the cluster
    requires none although it is reachable from other machines, and where this machine is none of its nodes.
    """
    gcs = _resolve(address)
    if address != "auto" and gcs != address and connection_error(gcs, CONNECT_SECONDS) is not None:
        raise ConfigError(
            f"cluster.address={address}: Ray takes this for {gcs} of this machine, where nothing listens; a head "
            f"elsewhere cannot be joined through a tunnel: {OWN_NODE}"
        )
    if requires_token(gcs):
        _use_token(address, gcs)
    elif addresses := reachable_addresses(gcs):
        problem = (
            f"cluster.address={address}: this cluster requires no token and is reachable at {', '.join(addresses[:3])}"
        )
        if not allow_unauthenticated:
            raise ConfigError(
                f"{problem}, where anybody can run code as its owner; start it with RAY_AUTH_MODE=token, {ADVICE}"
            )
        logging.getLogger(__name__).warning("%s; cluster.allow_unauthenticated=true lets it pass", problem)
    _require_own_node(address)
    return gcs


def _require_own_node(address: str) -> None:
    """Raise ConfigError where no Ray node runs on this machine, for which Ray would wait a minute."""
    until = time.monotonic() + NODE_SECONDS
    while not has_local_node():
        if time.monotonic() >= until:
            raise ConfigError(f"cluster.address={address}: no node of that cluster runs on this machine; {OWN_NODE}")
        time.sleep(0.5)


def requires_token(gcs: str, token: str | None = None) -> bool:
    """Return whether a cluster rejects a call without a token, or with the one given.

    Raises ConfigError where no Ray cluster responds.
    """
    import grpc

    metadata = [("authorization", f"Bearer {token}")] if token else None
    with plain_channel(gcs) as channel:
        get_cluster_id = channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetClusterId")
        try:
            get_cluster_id(b"", timeout=RPC_SECONDS, metadata=metadata)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                return True
            raise ConfigError(
                f"cluster.address={gcs}: Ray cannot be reached: {error.code().name}: {error.details()}"
            ) from None
    return False


def reachable_addresses(gcs: str) -> list[str]:
    """Return the addresses, other than loopback, at which a cluster without a token is reachable.

    These are its nodes, its dashboard, and its own port on this machine's addresses.
    """
    hosts = listed_hosts(gcs, RPC_SECONDS)
    addresses = [host for host in hosts if not is_loopback(host)]
    # A cluster whose nodes all report 127.0.0.1 may still listen on every address of this machine.
    own = [f"{host}:{gcs.rpartition(':')[2]}" for host in own_addresses()]
    addresses += [address for address in own if connection_error(address, CONNECT_SECONDS) is None]
    return list(dict.fromkeys(addresses))


def is_loopback(host: str) -> bool:
    """Return whether every address of a host is a loopback address."""
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(host.strip("[]"), None)}
    except OSError:
        return False
    return all(ipaddress.ip_address(str(address).partition("%")[0]).is_loopback for address in addresses)


def own_addresses() -> list[str]:
    """Return the addresses of this machine other than loopback."""
    families = (socket.AF_INET, socket.AF_INET6)
    addresses = [address for interface in psutil.net_if_addrs().values() for address in interface]
    hosts = [each.address for each in addresses if each.family in families]
    return [host for host in hosts if not ipaddress.ip_address(host.partition("%")[0]).is_loopback]


def make_private(path: Path) -> str | None:
    """Set a token file's mode to 600 where others can read it; return a message about it, None where nothing changed.

    Raises ConfigError where that is not permitted.
    """
    mode = path.stat().st_mode & 0o777
    if not mode & OTHERS_MASK:
        return None
    try:
        path.chmod(0o600)
    except OSError:
        raise ConfigError(f"{path}: others can read this token (mode {mode:03o}); it must have mode 600") from None
    return f"{path}: others could read this token (mode {mode:03o}); its mode is 600 now"


def _use_token(address: str, gcs: str) -> None:
    """Let Ray send the user's token from now on; raise ConfigError where it is missing or not the cluster's."""
    if (path := token_file()) is not None and (note := make_private(path)) is not None:
        logging.getLogger(__name__).warning("%s", note)
    problem = f"cluster.address={address}: this cluster requires a token"
    token = enable_token()
    if token is None:
        raise ConfigError(
            f"{problem}, and there is none here: put it into ~/.ray/auth_token (mode 600) or RAY_AUTH_TOKEN, "
            "and leave RAY_AUTH_MODE unset or at token"
        )
    if requires_token(gcs, token):
        source = "RAY_AUTH_TOKEN" if path is None else str(path)
        raise ConfigError(f"{problem}, and does not take the one in {source}; take the cluster's own")


def _resolve(address: str) -> str:
    """Return the host:port of an address, resolved as Ray does."""
    try:
        return resolve_address(address)
    except (ConnectionError, ValueError) as error:
        raise ConfigError(f"cluster.address={address}: Ray cannot be reached: {error}") from None
