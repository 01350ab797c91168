"""Every node of a cluster that was joined, asked about itself at the same time."""

import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fcos.config.run import DataConfig
from orchestration.cluster.health import node_facts
from orchestration.cluster.health.checks import NodeFacts
from orchestration.cluster.resources import Node
from orchestration.config.schema import LabConfig

ANSWER_SECONDS = 120.0
CLOCK_READINGS = 3


@dataclass(frozen=True)
class Survey:
    """What was heard; nodes are called by host name, with a part of their id where two share a host."""

    nodes: Sequence[NodeFacts]
    # Node -> why nothing was heard of it.
    silent: Mapping[str, str]
    # The same question, answered by this process.
    here: NodeFacts
    # Node -> why it could not write into the output folder.
    refused: Mapping[str, str]
    # Node -> the nodes whose files in the output folder it reads.
    seen: Mapping[str, Sequence[str]]


def survey(lab: LabConfig) -> Survey:
    """Ask every node that is alive; one that does not answer is among the silent ones."""
    import ray

    node_facts.by_value()
    alive = _named([node for node in ray.nodes() if node["Alive"]])  # type: ignore[no-untyped-call]
    probes = {name: _probe(node["NodeID"]) for name, node in alive.items()}
    asked = _question(lab)
    gpus = bool(lab.cluster.gpus_per_worker)
    answers, silent = _ask_all(
        {name: (probe, gpus or bool(alive[name]["Resources"].get("GPU"))) for name, probe in probes.items()}, asked
    )
    probes = {name: probe for name, probe in probes.items() if name in answers}
    nodes = [_facts(name, alive[name]["Resources"], told) for name, told in answers.items()]
    nodes = [_with_clock(each, probes[each.name]) for each in nodes]
    refused, seen = _marks(lab.folder, probes)
    return Survey(nodes, silent, here(lab), refused, seen)


def here(lab: LabConfig) -> NodeFacts:
    """What this process finds."""
    return _facts("here", {}, node_facts.describe(*_question(lab), False))


def data_files(data: DataConfig) -> dict[str, str]:
    """Annotation files of a data set by key; drawn shapes have none."""
    if data.name == "synthetic" or data.train is None or data.val is None:
        return {}
    # Only coverage does without a root; its annotations may lie anywhere.
    root = Path(data.root or ".").expanduser()
    splits = {"train": data.train, "val": data.val}
    return {name: str(root / Path(split.annotations).expanduser()) for name, split in splits.items()}


def image_folders(data: DataConfig) -> list[str]:
    """Image folders of a data set; drawn shapes have none."""
    if data.name == "synthetic" or data.root is None or data.train is None or data.val is None:
        return []
    root = Path(data.root).expanduser()
    folders = [str(root / Path(split.images).expanduser()) for split in (data.train, data.val)]
    return list(dict.fromkeys(folders))


def cache_folder(data: DataConfig) -> str:
    """Where drawn shapes and decoded images are kept on each node."""
    from fcos.data import prepare

    return str(prepare.cache_folder(data).resolve())


def _question(lab: LabConfig) -> tuple[list[str], dict[str, str], list[str]]:
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


def _probe(node_id: str) -> Any:
    """An actor on that node and no other, which takes no processor from trainings."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node_id, soft=False)
    return ray.remote(node_facts.NodeProbe).options(num_cpus=0, scheduling_strategy=there).remote()


def _ask_all(
    probes: Mapping[str, tuple[Any, bool]], asked: tuple[list[str], dict[str, str], list[str]]
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    import ray
    from ray.exceptions import GetTimeoutError, RayError

    until = time.monotonic() + ANSWER_SECONDS
    waiting = {name: probe.ask.remote(node_facts.describe, *asked, gpus) for name, (probe, gpus) in probes.items()}
    answers: dict[str, dict[str, Any]] = {}
    silent: dict[str, str] = {}
    for name, reference in waiting.items():
        try:
            answers[name] = ray.get(reference, timeout=max(0.1, until - time.monotonic()))
        except GetTimeoutError:
            silent[name] = f"nothing within {ANSWER_SECONDS:.0f} s"
        except RayError as error:
            silent[name] = str(error).strip().splitlines()[-1]
    return answers, silent


def _facts(name: str, resources: Mapping[str, float], told: dict[str, Any]) -> NodeFacts:
    node = Node(resources.get("CPU", 0), resources.get("GPU", 0))
    return NodeFacts(name, node, **{key: value for key, value in told.items() if key != "host"})


def _with_clock(facts: NodeFacts, probe: Any) -> NodeFacts:
    """How far the node's clock is ahead, by the reading whose answer came fastest."""
    import ray

    best = (float("inf"), 0.0)
    for _ in range(CLOCK_READINGS):
        before = time.time()
        there = ray.get(probe.ask.remote(node_facts.clock), timeout=ANSWER_SECONDS)
        after = time.time()
        best = min(best, ((after - before) / 2, there - (before + after) / 2))
    return replace(facts, unsure=best[0], ahead=best[1])


def _marks(output: Path, probes: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Let every node write a file below the output folder, and then read all of them; nothing of it stays."""
    import ray

    was_there = output.exists()
    folder = output / f".doctor-{secrets.token_hex(4)}"
    files = {f"node-{place}": name for place, name in enumerate(probes)}
    try:
        written = [
            probe.ask.remote(node_facts.leave_mark, str(folder), file)
            for probe, file in zip(probes.values(), files, strict=True)
        ]
        reasons = dict(zip(probes, ray.get(written, timeout=ANSWER_SECONDS), strict=True))
        read = [probe.ask.remote(node_facts.marks_seen, str(folder), list(files)) for probe in probes.values()]
        seen = dict(zip(probes, ray.get(read, timeout=ANSWER_SECONDS), strict=True))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if not was_there:
            with suppress(OSError):
                output.rmdir()
    refused = {name: reason for name, reason in reasons.items() if reason is not None}
    return refused, {name: [files[file] for file in found] for name, found in seen.items()}
