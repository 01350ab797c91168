"""Resources: processors and GPUs of a training, and how many trainings fit on the nodes of a cluster."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fcos.errors import ConfigError
from orchestration.config.schema import ClusterConfig


def hardware_device(cluster: ClusterConfig) -> str:
    """Return the device that decides how the machine is described."""
    return "cpu" if cluster.device == "cpu" else "cuda"


def resources_text(cluster: ClusterConfig) -> str:
    """Describe the resources of one training; the tag by which runs with the same are found."""
    return f"{cluster.workers} x {cluster.cpus_per_worker} CPU {cluster.gpus_per_worker:g} GPU {cluster.device}"


@dataclass(frozen=True)
class Node:
    """Processors and GPUs of one machine."""

    cpus: float
    gpus: float = 0


@dataclass(frozen=True)
class Demand:
    """Resources of one training: a number of equal workers, each whole on one machine."""

    workers: int
    cpus: int
    gpus: float
    device: str
    # Fewer go on where machines are lost; None is always all of them.
    min_workers: int | None = None

    @property
    def numbers_of_workers(self) -> range:
        """The numbers of workers that a training may have."""
        return range(self.min_workers or self.workers, self.workers + 1)

    def __str__(self) -> str:
        count = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        text = f"{count} x {self.cpus} CPU = {self.workers * self.cpus} CPU"
        if self.gpus:
            text += f" and {count} x {self.gpus:g} GPU = {self.workers * self.gpus:g} GPU"
        return text


def demand(cluster: ClusterConfig, nodes: Sequence[Node]) -> Demand:
    """Return the demand of a training; device=auto takes GPUs where the cluster has any."""
    wants_gpu = cluster.device == "cuda" or (
        cluster.device == "auto" and cluster.gpus_per_worker > 0 and any(node.gpus for node in nodes)
    )
    return Demand(
        workers=cluster.workers,
        cpus=cluster.cpus_per_worker,
        gpus=cluster.gpus_per_worker if wants_gpu else 0,
        device="cuda" if wants_gpu else "cpu",
        min_workers=cluster.min_workers,
    )


def worker_slots(nodes: Sequence[Node], demand: Demand) -> int:
    """Return how many workers the machines hold together; a worker never spans two."""
    return sum(_slots_of(node, demand) for node in nodes)


def _slots_of(node: Node, demand: Demand) -> int:
    by_cpu = math.floor(node.cpus / demand.cpus)
    if not demand.gpus:
        return by_cpu
    # Ray hands out a fraction of one GPU or whole GPUs, never a fraction over several.
    by_gpu = (
        math.floor(node.gpus) * math.floor(1 / demand.gpus) if demand.gpus < 1 else math.floor(node.gpus / demand.gpus)
    )
    return min(by_cpu, by_gpu)


def max_concurrent(nodes: Sequence[Node], demand: Demand, limit: int | None) -> int:
    """Return how many trainings run at the same time, so that each that starts has all its workers.

    Raises ConfigError with the numbers where not even one fits.
    """
    if 1 < demand.gpus != int(demand.gpus):
        raise ConfigError(f"cluster.gpus_per_worker={demand.gpus:g}: must be a fraction of one GPU or a whole number")
    slots = worker_slots(nodes, demand)
    # One that may go on with fewer workers may also begin with them.
    fit = slots // demand.workers or int(slots >= (demand.min_workers or demand.workers))
    if fit == 0:
        raise ConfigError(f"a training needs {demand}, but {_describe(nodes, demand)}")
    return fit if limit is None else min(fit, limit)


def _describe(nodes: Sequence[Node], demand: Demand) -> str:
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    where = "the machine has" if len(nodes) == 1 else f"the cluster of {len(nodes)} machines has"
    text = f"{where} {cpus:g} CPU and {gpus:g} GPU"
    if gpus < demand.workers * demand.gpus:
        return f"{text}; without a GPU use cluster=local" if gpus == 0 else text
    if len(nodes) > 1:
        text += f", room for {worker_slots(nodes, demand)} such workers"
    return f"{text}; lower cluster.workers or cluster.cpus_per_worker"
