"""Collect information from all nodes of a joined cluster concurrently."""

import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fcos.config.run import DataConfig
from fcos.data.bucket_source import is_in_bucket
from orchestration.cluster.health import node_info
from orchestration.cluster.health.checks import NodeInfo
from orchestration.cluster.resources import Node
from orchestration.config.schema import LabConfig

RESPONSE_SECONDS = 120.0
CLOCK_READINGS = 3


@dataclass(frozen=True)
class ClusterInfo:
    """Information about all nodes, by host name, with a part of the node's id where two share a host."""

    nodes: Sequence[NodeInfo]
    # Node -> why it did not respond.
    silent: Mapping[str, str]
    # The same information about this process.
    driver: NodeInfo
    # Node -> why it could not write to the output folder.
    write_errors: Mapping[str, str]
    # Node -> the nodes whose files in the output folder it reads.
    visible: Mapping[str, Sequence[str]]


def collect_cluster_info(lab: LabConfig) -> ClusterInfo:
    """Collect information from every node that is alive in Ray."""
    import ray

    node_info.register_by_value()
    alive = _named([node for node in ray.nodes() if node["Alive"]])
    actors = {name: _start_actor(node["NodeID"]) for name, node in alive.items()}
    arguments = _describe_arguments(lab)
    gpus = bool(lab.cluster.gpus_per_worker)
    responses, silent = _describe_all(
        {name: (actor, gpus or bool(alive[name]["Resources"].get("GPU"))) for name, actor in actors.items()}, arguments
    )
    actors = {name: actor for name, actor in actors.items() if name in responses}
    nodes = [_node_info(name, alive[name]["Resources"], response) for name, response in responses.items()]
    nodes = [_with_clock_offset(each, actors[each.name]) for each in nodes]
    write_errors, visible = _test_shared_folder(lab.folder, actors)
    return ClusterInfo(nodes, silent, driver_info(lab), write_errors, visible)


def driver_info(lab: LabConfig) -> NodeInfo:
    """Return the information about this process."""
    return _node_info("here", {}, node_info.describe(*_describe_arguments(lab), False))


def data_files(data: DataConfig) -> dict[str, str]:
    """Return the annotation files of a data set by key; empty for synthetic data, and data in a bucket."""
    if data.name == "synthetic" or data.train is None or data.val is None or is_in_bucket(data):
        return {}
    # data.root is optional for coverage alone, whose annotations may have absolute paths.
    root = Path(data.root or ".").expanduser()
    splits = {"train": data.train, "val": data.val}
    return {name: str(root / Path(split.annotations).expanduser()) for name, split in splits.items()}


def image_folders(data: DataConfig) -> list[str]:
    """Return the image folders of a data set; empty for synthetic data, and data in a bucket."""
    if data.name == "synthetic" or data.root is None or data.train is None or data.val is None or is_in_bucket(data):
        return []
    root = Path(data.root).expanduser()
    folders = [str(root / Path(split.images).expanduser()) for split in (data.train, data.val)]
    return list(dict.fromkeys(folders))


def cache_folder(data: DataConfig) -> str:
    """Return the folder for synthetic data and decoded images on each node."""
    from fcos.data import prepare

    return str(prepare.cache_folder(data).resolve())


def _describe_arguments(lab: LabConfig) -> tuple[list[str], dict[str, str], list[str]]:
    folders = [str(lab.folder), cache_folder(lab.data)]
    # Coverage reads annotations alone.
    images = image_folders(lab.data) if lab.task == "train" else []
    return list(dict.fromkeys(folders)), data_files(lab.data), images


def _named(nodes: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    hosts = [node["NodeManagerHostname"] for node in nodes]
    return {
        host if hosts.count(host) == 1 else f"{host} {node['NodeID'][:6]}": node
        for host, node in zip(hosts, nodes, strict=True)
    }


def _start_actor(node_id: str) -> Any:
    """Start an actor on exactly this node, which reserves no CPU of it."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    on_node = NodeAffinitySchedulingStrategy(node_id, soft=False)
    return ray.remote(node_info.NodeActor).options(num_cpus=0, scheduling_strategy=on_node).remote()


def _describe_all(
    actors: Mapping[str, tuple[Any, bool]], arguments: tuple[list[str], dict[str, str], list[str]]
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    import ray
    from ray.exceptions import GetTimeoutError, RayError

    deadline = time.monotonic() + RESPONSE_SECONDS
    pending = {name: actor.call.remote(node_info.describe, *arguments, gpus) for name, (actor, gpus) in actors.items()}
    responses: dict[str, dict[str, Any]] = {}
    silent: dict[str, str] = {}
    for name, reference in pending.items():
        try:
            responses[name] = ray.get(reference, timeout=max(0.1, deadline - time.monotonic()))
        except GetTimeoutError:
            silent[name] = f"nothing within {RESPONSE_SECONDS:.0f} s"
        except RayError as error:
            silent[name] = str(error).strip().splitlines()[-1]
    return responses, silent


def _node_info(name: str, resources: Mapping[str, float], response: dict[str, Any]) -> NodeInfo:
    node = Node(resources.get("CPU", 0), resources.get("GPU", 0))
    return NodeInfo(name, node, **response)


def _with_clock_offset(node: NodeInfo, actor: Any) -> NodeInfo:
    """Add the offset of the node's clock, from the reading with the shortest round trip."""
    import ray

    best = (float("inf"), 0.0)
    for _ in range(CLOCK_READINGS):
        before = time.time()
        reading = ray.get(actor.call.remote(node_info.read_clock), timeout=RESPONSE_SECONDS)
        after = time.time()
        best = min(best, ((after - before) / 2, reading - (before + after) / 2))
    return replace(node, clock_uncertainty=best[0], clock_offset=best[1])


def _test_shared_folder(output: Path, actors: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Let every node write a file below the output folder and then read all of them; the files are deleted again.

    Returns node -> why it could not write, and node -> the nodes whose files it reads.
    """
    import ray

    existed = output.exists()
    folder = output / f".doctor-{secrets.token_hex(4)}"
    files = {f"node-{index}": name for index, name in enumerate(actors)}
    try:
        written = [
            actor.call.remote(node_info.write_marker, str(folder), file)
            for actor, file in zip(actors.values(), files, strict=True)
        ]
        reasons = dict(zip(actors, ray.get(written, timeout=RESPONSE_SECONDS), strict=True))
        read = [actor.call.remote(node_info.visible_markers, str(folder), list(files)) for actor in actors.values()]
        visible = dict(zip(actors, ray.get(read, timeout=RESPONSE_SECONDS), strict=True))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if not existed:
            with suppress(OSError):
                output.rmdir()
    write_errors = {name: reason for name, reason in reasons.items() if reason is not None}
    return write_errors, {name: [files[marker] for marker in markers] for name, markers in visible.items()}
