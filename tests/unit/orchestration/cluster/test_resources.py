"""Trainings run side by side as far as they fit, and what never fits is refused with the numbers."""

from typing import Any

import pytest

from fcos.config.parse import parse
from fcos.errors import ConfigError
from orchestration.cluster.resources import Demand, Node, demand, max_concurrent
from orchestration.config.schema import ClusterConfig


def cluster(**values: Any) -> ClusterConfig:
    return parse(ClusterConfig, values)


@pytest.mark.parametrize(
    ("nodes", "need", "limit", "expected"),
    [
        ([Node(2)], Demand(1, 1, 0, "cpu"), None, 2),
        ([Node(2)], Demand(2, 1, 0, "cpu"), None, 1),
        ([Node(5)], Demand(2, 1, 0, "cpu"), None, 2),
        ([Node(8)], Demand(1, 1, 0, "cpu"), 3, 3),
        ([Node(2)], Demand(1, 1, 0, "cpu"), 9, 2),
        # A worker of 4 CPU fits neither half of two 3-CPU machines; one of 3 CPU fits each.
        ([Node(3), Node(3)], Demand(2, 3, 0, "cpu"), None, 1),
        ([Node(64, 8)], Demand(8, 4, 1, "cuda"), None, 1),
        ([Node(64, 8)], Demand(1, 4, 1, "cuda"), None, 8),
        ([Node(8, 8)], Demand(1, 4, 1, "cuda"), None, 2),
        # Four quarters of each GPU; 0.4 fits twice, never across two GPUs.
        ([Node(64, 2)], Demand(1, 1, 0.25, "cuda"), None, 8),
        ([Node(64, 2)], Demand(1, 1, 0.4, "cuda"), None, 4),
        ([Node(64, 5)], Demand(1, 1, 2, "cuda"), None, 2),
        # One that may go on with fewer workers takes all of them where they fit, and begins with fewer where not.
        ([Node(2), Node(2)], Demand(2, 1, 0, "cpu", 1), None, 2),
        ([Node(1)], Demand(2, 1, 0, "cpu", 1), None, 1),
        ([Node(3)], Demand(4, 1, 0, "cpu", 2), None, 1),
    ],
)
def test_how_many_trainings_run_at_once(nodes: list[Node], need: Demand, limit: int | None, expected: int) -> None:
    assert max_concurrent(nodes, need, limit) == expected


@pytest.mark.parametrize(
    ("nodes", "need", "message"),
    [
        ([Node(2)], Demand(3, 1, 0, "cpu"), r"3 workers x 1 CPU = 3 CPU, but the machine has 2 CPU"),
        ([Node(8)], Demand(1, 4, 1, "cuda"), r"the machine has 8 CPU and 0 GPU; without a GPU use"),
        ([Node(3), Node(3)], Demand(1, 4, 0, "cpu"), r"2 machines has 6 CPU.*room for 0 such workers"),
        ([Node(64, 4)], Demand(8, 4, 1, "cuda"), r"8 GPU, but the machine has 64 CPU and 4 GPU"),
        ([Node(1)], Demand(4, 1, 0, "cpu", 2), r"4 workers x 1 CPU = 4 CPU, but the machine has 1 CPU"),
        ([Node(64, 4)], Demand(1, 1, 1.5, "cuda"), r"gpus_per_worker=1\.5: must be a fraction"),
    ],
)
def test_what_never_fits_is_refused_with_the_numbers(nodes: list[Node], need: Demand, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        max_concurrent(nodes, need, None)


def test_auto_takes_the_gpu_where_there_is_one() -> None:
    config = cluster(device="auto", gpus_per_worker=1, cpus_per_worker=2)
    assert demand(config, [Node(8, 1)]) == Demand(1, 2, 1, "cuda")
    assert demand(config, [Node(8)]) == Demand(1, 2, 0, "cpu")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"device": "cuda"}, "device=cuda needs gpus_per_worker"),
        ({"gpus_per_worker": 1}, "would stand idle"),
        ({"address": "ray://host:10001"}, "cannot be driven through Ray Client"),
        ({"workers": 0}, "workers=0"),
        ({"workers": 2, "min_workers": 3}, "min_workers=3: must not be above workers=2"),
        ({"workers": 2, "min_workers": 0}, "min_workers=0"),
        (
            {"workers": 2, "gpus_per_worker": 0.5, "device": "cuda"},
            r"gpus_per_worker=0\.5 with workers=2: NCCL does not let two workers of one training share a GPU",
        ),
    ],
)
def test_clusters_that_contradict_themselves_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cluster(**values)
