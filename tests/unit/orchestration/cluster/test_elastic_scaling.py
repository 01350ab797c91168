"""The number of workers of an elastic training, while Ray's reservation leads to nodes that will be taken away."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from orchestration.cluster import elastic_scaling
from orchestration.cluster.elastic_scaling import StayingNodesPolicy

pytestmark = pytest.mark.ray

# Node -> its free processors, or those that are reserved there.
Nodes = dict[str, float]
MakePolicy = Callable[..., StayingNodesPolicy]


def resources_of(nodes: Nodes) -> dict[str, dict[str, float]]:
    return {node: {"CPU": cpus} for node, cpus in nodes.items()}


@pytest.fixture
def make_policy(monkeypatch: pytest.MonkeyPatch) -> MakePolicy:
    """Makes the policy of one to three workers of two processors each."""
    from ray.train.v2.api.config import ScalingConfig

    def make(reserved: Nodes, free: Nodes | None) -> StayingNodesPolicy:
        def read_free() -> dict[str, dict[str, float]]:
            if free is None:
                raise ConnectionError("the head does not answer")
            return resources_of(free)

        monkeypatch.setattr(elastic_scaling, "free_on_staying_nodes", read_free)
        monkeypatch.setattr("ray.get", lambda value, **_: value)
        made = StayingNodesPolicy(ScalingConfig(num_workers=(1, 3), resources_per_worker={"CPU": 2}))
        remote = SimpleNamespace(remote=lambda _: resources_of(reserved))
        client: Any = SimpleNamespace(
            _autoscaling_coordinator=SimpleNamespace(get_reserved_resources=remote),
            maybe_send_resource_request=lambda *_: None,
        )
        made._coordinator_client = client
        return made

    return make


def beginning(policy: StayingNodesPolicy) -> int | None:
    """How many workers a training begins with; None where it waits."""
    return getattr(policy.make_decision_for_non_running_worker_group(), "num_workers", None)


def running(policy: StayingNodesPolicy, workers: int) -> int | None:
    """How many workers a training goes on with that runs with some; None where it stays with them."""
    state: Any = SimpleNamespace(num_workers=workers, start_time=float("-inf"))
    return getattr(policy.make_decision_for_running_worker_group(state, None), "num_workers", None)


def test_without_a_notice_what_ray_has_reserved_counts(make_policy: MakePolicy) -> None:
    # Another training has all of them for now, and this one has its turn.
    assert beginning(make_policy({"a": 2, "b": 4}, free={"a": 0, "b": 0, "head": 0})) == 3


@pytest.mark.parametrize(
    ("free", "workers"), [({"b": 2}, 1), ({"b": 3, "c": 3}, 2), ({"b": 8, "c": 8}, 3), ({"b": 1}, None), ({}, None)]
)
def test_a_training_begins_with_what_is_free_on_the_nodes_that_stay(
    make_policy: MakePolicy, free: Nodes, workers: int | None
) -> None:
    assert beginning(make_policy({"leaving": 2, "b": 4}, free)) == workers


def test_a_running_training_does_not_begin_anew_for_a_node_that_leaves(make_policy: MakePolicy) -> None:
    assert running(make_policy({"leaving": 2, "b": 2}, free={"b": 0}), 1) is None


def test_a_running_training_gets_more_workers_where_a_node_that_stays_has_room(make_policy: MakePolicy) -> None:
    assert running(make_policy({"leaving": 4, "b": 2}, free={"b": 0, "c": 2}), 1) == 2


def test_a_running_training_keeps_its_workers_where_its_reservation_leads_elsewhere(make_policy: MakePolicy) -> None:
    assert running(make_policy({"leaving": 2}, free={"b": 0, "c": 0}), 2) is None


def test_where_the_head_does_not_answer_what_ray_has_reserved_counts(make_policy: MakePolicy) -> None:
    assert beginning(make_policy({"leaving": 2, "b": 2}, free=None)) == 2


def test_what_is_free_is_read_as_rarely_as_what_is_reserved(
    make_policy: MakePolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, reads = make_policy({"leaving": 2}, free={}), list[int]()

    def read_free() -> dict[str, Any]:
        reads.append(1)
        return {}

    monkeypatch.setattr(elastic_scaling, "free_on_staying_nodes", read_free)
    monkeypatch.setattr(StayingNodesPolicy, "GET_RESERVED_RESOURCES_INTERVAL_S", 3600)
    assert [beginning(policy) for _ in range(3)] == [None] * 3
    assert len(reads) == 1


def test_an_elastic_trainer_hands_its_policy_to_ray_train(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.train.v2.torch.torch_trainer import TorchTrainer

    given: dict[str, Any] = {}
    monkeypatch.setattr(
        TorchTrainer, "_initialize_and_run_controller", lambda self, **arguments: given.update(arguments)
    )
    trainer: Any = object.__new__(elastic_scaling.ElasticTrainer)
    trainer.scaling_config = "config"
    monkeypatch.setattr(elastic_scaling, "StayingNodesPolicy", lambda config: ("staying", config))
    trainer._initialize_and_run_controller(scaling_policy="Ray's", callbacks=[])
    assert given == {"scaling_policy": ("staying", "config"), "callbacks": []}
