"""Checks of a cluster from information that its nodes reported (pure functions)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Literal

from fcos.errors import ConfigError
from orchestration.cluster.resources import Node, demand, max_concurrent
from orchestration.config.schema import ClusterConfig

State = Literal["ok", "warning", "failed"]
# Packages whose versions decide a result or whether a training starts; others may differ.
DECIDING_PACKAGES = (
    "python",
    "ray",
    "torch",
    "torchvision",
    "numpy",
    "pillow",
    "hotcoco",
    "pydantic",
    "safetensors",
)
MIN_FREE_BYTES = 1 << 30
CLOCK_SECONDS = 2.0
# Docker's default size of shared memory.
DOCKER_BYTES = 64 << 20


@dataclass(frozen=True)
class Check:
    """Result of one check: its name, state, findings and advice."""

    name: str
    state: State
    finding: str
    advice: str = ""


@dataclass(frozen=True)
class NodeInfo:
    """Information that one node reported (see `node_info.describe`), and its resources in Ray."""

    name: str
    node: Node
    # Its own name for its machine, the addresses that this resolves to there, and GLOO_SOCKET_IFNAME.
    host: str = ""
    host_addresses: Sequence[str] = ()
    gloo_interface: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    # Package -> digest of its code; None where it is not importable on the node.
    code: Mapping[str, str | None] = field(default_factory=dict)
    # GPUs that torch counts; None where not requested or where torch failed.
    gpus: int | None = None
    # Mode of the token file in use; empty without one.
    token_mode: str = ""
    # Folder -> free bytes on its disk.
    free: Mapping[str, int] = field(default_factory=dict)
    # Free bytes of /dev/shm; None on a node without it.
    shared_memory: int | None = None
    # Key -> SHA-256 of the file that the key names; None where it cannot be read.
    digests: Mapping[str, str | None] = field(default_factory=dict)
    # Image folder -> whether it holds files.
    images: Mapping[str, bool] = field(default_factory=dict)
    # Seconds by which the node's clock is ahead of the driver's, and the uncertainty of that.
    clock_offset: float = 0.0
    clock_uncertainty: float = 0.0


def check_responses(nodes: Sequence[NodeInfo], silent: Mapping[str, str]) -> Check:
    """Check that every node alive in Ray responded; `silent` maps the others to the reason."""
    count = f"{len(nodes) + len(silent)} node{'s' if len(nodes) + len(silent) != 1 else ''}"
    if silent:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in silent.items())
        return Check("nodes", "failed", f"of {count} without an answer: {reasons}", "look at that node's Ray logs")
    cpus, gpus = sum(each.node.cpus for each in nodes), sum(each.node.gpus for each in nodes)
    return Check("nodes", "ok", f"{count} with {cpus:g} CPU and {gpus:g} GPU, all answer")


def check_capacity(cluster: ClusterConfig, nodes: Sequence[NodeInfo]) -> Check:
    """Check that a training of this config fits."""
    resources = [each.node for each in nodes]
    try:
        need = demand(cluster, resources)
        concurrent = max_concurrent(resources, need, cluster.concurrent)
    except ConfigError as error:
        return Check("room", "failed", str(error))
    return Check("room", "ok", f"{concurrent} side by side, each {need} on {need.device}")


def check_names(nodes: Sequence[NodeInfo], cluster: ClusterConfig) -> Check:
    """Check that each machine's own name resolves to an address that others reach.

    Workers of a training find each other by it where gloo connects them, unless GLOO_SOCKET_IFNAME names an interface.
    """
    hosts = {each.host: each for each in nodes}
    if len(hosts) < 2:
        return Check("names", "ok", "one machine, whose name need not resolve")
    wrong = [
        f"{each.host} resolves to {', '.join(each.host_addresses) or 'nothing'} on {each.name}"
        for each in hosts.values()
        if not each.gloo_interface and all(ip_address(one.partition("%")[0]).is_loopback for one in each.host_addresses)
    ]
    if wrong:
        by_gloo = cluster.workers > 1 and cluster.device == "cpu"
        advice = (
            "give the name its address in /etc/hosts there (Debian has 127.0.1.1), or start Ray there with "
            "GLOO_SOCKET_IFNAME=<interface> (and NCCL_SOCKET_IFNAME) and --node-ip-address"
        )
        return Check("names", "failed" if by_gloo else "warning", "; ".join(wrong), advice)
    return Check("names", "ok", "each machine's own name resolves to an address that others reach")


def check_versions(nodes: Sequence[NodeInfo], driver: Mapping[str, str]) -> Check:
    """Check that Python and DECIDING_PACKAGES have the driver's versions on every node."""
    wrong = [
        f"{each.name} has {name} {each.versions.get(name, 'absent')}, here is {driver[name]}"
        for each in nodes
        for name in DECIDING_PACKAGES
        if each.versions.get(name) != driver[name]
    ]
    if wrong:
        return Check("versions", "failed", "; ".join(wrong), "install requirements.lock on every node")
    shown = ", ".join(f"{name} {driver[name]}" for name in ("python", "ray", "torch", "torchvision"))
    return Check("versions", "ok", f"{shown}, the same on every node")


def check_code(nodes: Sequence[NodeInfo], driver: Mapping[str, str | None]) -> Check:
    """Check that every node imports the same code as the driver."""
    wrong = [
        f"{each.name} {'has another' if each.code.get(package) else 'finds no'} {package}/"
        for each in nodes
        for package, digest in driver.items()
        if each.code.get(package) != digest
    ]
    if wrong:
        advice = "update that checkout, or submit the job with --working-dir . (docs/clusters.md)"
        return Check("code", "failed", "; ".join(wrong), advice)
    return Check("code", "ok", f"fcos {(driver.get('fcos') or '')[:12]}, the same on every node")


def check_gpus(cluster: ClusterConfig, nodes: Sequence[NodeInfo]) -> Check:
    """Check that torch sees the GPUs that Ray assigns."""
    if not cluster.gpus_per_worker and not any(each.node.gpus for each in nodes):
        return Check("GPUs", "ok", "none requested, none in the cluster")
    wrong = [
        f"{each.name}: Ray has {each.node.gpus:g}, torch sees {'none' if each.gpus is None else each.gpus}"
        for each in nodes
        if (each.gpus or 0) != math.ceil(each.node.gpus)
    ]
    total = sum(each.node.gpus for each in nodes)
    if wrong:
        return Check("GPUs", "failed", "; ".join(wrong), "a torch built for that node's driver; ray start --num-gpus")
    if not total:
        state: State = "failed" if cluster.device == "cuda" else "warning"
        return Check("GPUs", state, "a GPU is requested, the cluster has none", "cluster=local trains on processors")
    if not cluster.gpus_per_worker:
        return Check(
            "GPUs", "warning", f"{total:g} GPU would stand idle", "cluster.gpus_per_worker=1 cluster.device=cuda"
        )
    return Check("GPUs", "ok", f"{total:g}, seen by torch as by Ray")


def check_output(folder: str, write_errors: Mapping[str, str], visible: Mapping[str, Sequence[str]]) -> Check:
    """Check that every node can write to `output` and read the files of the others.

    `write_errors`: node -> why it could not write; `visible`: node -> the nodes whose files it reads.
    """
    if write_errors:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in write_errors.items())
        return Check(
            "output", "failed", f"{folder} cannot be written by {reasons}", "give output=<folder that it may write>"
        )
    unshared = [
        f"{name} does not see what {other} wrote"
        for name, others in visible.items()
        for other in visible
        if other not in others
    ]
    if unshared:
        more = f" (and {len(unshared) - 3} more)" if len(unshared) > 3 else ""
        advice = "give output=<folder on storage that all nodes share>"
        return Check("output", "failed", f"{folder}: {'; '.join(unshared[:3])}{more}", advice)
    return Check(
        "output", "ok", f"{folder}: written by every node, read by all" if len(visible) > 1 else f"{folder}: written"
    )


def check_data(nodes: Sequence[NodeInfo], driver: NodeInfo) -> Check:
    """Check that every node has the driver's annotations, and image folders that are not empty."""
    if not driver.digests:
        return Check("data", "ok", "drawn on each node when it needs them")
    if absent := [key for key, digest in driver.digests.items() if digest is None]:
        return Check("data", "failed", f"{', '.join(absent)}: no such file here", "give data.root=<folder of the data>")
    wrong = [
        f"{each.name}: {key} {'is another file' if each.digests.get(key) else 'is not there'}"
        for each in nodes
        for key, digest in driver.digests.items()
        if each.digests.get(key) != digest
    ]
    wrong += [
        f"{each.name}: no images in {folder}"
        for each in nodes
        for folder, has_files in each.images.items()
        if not has_files
    ]
    if wrong:
        return Check("data", "failed", "; ".join(wrong), "data.root must lead to the same data on every node")
    digests = ", ".join(f"{key} {str(digest)[:12]}" for key, digest in driver.digests.items())
    return Check("data", "ok", f"{digests}, the same on every node")


def check_disks(nodes: Sequence[NodeInfo], cache: str, cache_bytes: int) -> Check:
    """Check that no disk is full and that decoded images fit into the cache (`cache_bytes`, 0 for none)."""
    full = [
        f"{each.name}: {free / 2**30:.1f} GiB free at {folder}"
        for each in nodes
        for folder, free in each.free.items()
        if free < MIN_FREE_BYTES
    ]
    if full:
        return Check("space", "failed", "; ".join(full), "make space, or give another output or data.cache_dir")
    tight = [f"{each.name}: {each.free[cache] / 1e9:.1f} GB" for each in nodes if each.free.get(cache, 0) < cache_bytes]
    if tight:
        advice = "images that do not fit are decoded as they are read; data.cache_dir, data.cache_gb"
        return Check("space", "warning", f"less than data.cache_gb free at {cache} on {'; '.join(tight)}", advice)
    least = min((free for each in nodes for free in each.free.values()), default=0)
    return Check("space", "ok", f"at least {least / 2**30:.0f} GiB free wherever something is written")


def check_shared_memory(nodes: Sequence[NodeInfo], num_workers: int, need: int | None) -> Check:
    """Check that the batches of loader processes fit into shared memory: `need` bytes per worker, None if unknown."""
    if not num_workers:
        return Check("shared memory", "ok", "not used (data.num_workers=0)")
    free = {each.name: each.shared_memory for each in nodes if each.shared_memory is not None}
    least = DOCKER_BYTES + 1 if need is None else need
    needed = "" if need is None else f", data.num_workers={num_workers} needs up to {need / 2**20:.0f} MiB a worker"
    short = [f"{name}: {number / 2**20:.0f} MiB free" for name, number in free.items() if number < least]
    if short:
        advice = "docker run --shm-size=..., or fewer data.num_workers (0 needs none)"
        return Check("shared memory", "warning" if need is None else "failed", "; ".join(short) + needed, advice)
    smallest = min(free.values(), default=0)
    return Check("shared memory", "ok", f"at least {smallest / 2**20:.0f} MiB free{needed}")


def check_clocks(nodes: Sequence[NodeInfo]) -> Check:
    """Check that no node's clock deviates by more than CLOCK_SECONDS beyond the measurement's uncertainty."""
    off = [each for each in nodes if abs(each.clock_offset) - each.clock_uncertainty > CLOCK_SECONDS]
    if off:
        offsets = "; ".join(
            f"{each.name}: {abs(each.clock_offset):.0f} s {'ahead' if each.clock_offset > 0 else 'behind'}"
            for each in off
        )
        return Check("clocks", "warning", offsets, "run NTP there; times in logs and curves would mislead")
    most = max((abs(each.clock_offset) + each.clock_uncertainty for each in nodes), default=0.0)
    return Check("clocks", "ok", f"within {max(most, 0.001):.3f} s of this one")


def check_token(required: bool, address: str, nodes: Sequence[NodeInfo]) -> Check:
    """Check that the cluster requires a token and that no token file is readable by others."""
    if not required:
        advice = "start it with RAY_AUTH_MODE=token (docs/clusters.md)"
        return Check(
            "token", "warning", f"{address} requires no token: anybody who reaches it can run code there", advice
        )
    readable = [f"{each.name}: mode {each.token_mode}" for each in nodes if each.token_mode not in ("", "600", "400")]
    if readable:
        return Check(
            "token", "failed", f"others can read the token file on {'; '.join(readable)}", "chmod 600 it there"
        )
    location = "in files of mode 600" if any(each.token_mode for each in nodes) else "in the environment alone"
    return Check("token", "ok", f"required; it is {location}")


def check_tracking(
    store: str, problem: str | None, version_note: str | None = None, *, sqlite: bool, num_nodes: int, advice: str = ""
) -> Check:
    """Check that the store accepts writes; only the driver writes to it."""
    if problem is not None:
        return Check("tracking", "failed", problem, advice or "start the server, or give tracking.uri=...")
    if sqlite and num_nodes > 1:
        advice = "tracking=server tracking.uri=http://host:port"
        return Check("tracking", "warning", f"{store}: SQLite on shared storage may be damaged", advice)
    if version_note is not None:
        return Check("tracking", "warning", version_note, "run the same MLflow on both")
    return Check("tracking", "ok", store)


def check_artifact_store(location: str, problem: str | None, *, required: bool) -> Check:
    """Check that artifacts can be written to their location; params, metrics and tags are stored without it too."""
    if problem is None:
        return Check("artifacts", "ok", f"{location} can be written")
    advice = "make that location writable from here; pictures, configs and reports of runs are missing else"
    return Check("artifacts", "failed" if required else "warning", problem, advice)
