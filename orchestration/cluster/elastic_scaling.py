"""How many workers an elastic training gets while machines of the cluster are about to be taken away.

Ray Train counts such a machine until it is gone, and one that is gone for up to 20 s more: it waits for room there,
which no new worker gets, and starts running workers anew for it. Here only what is free on the others counts then.
Written, as `ray_internals`, for the Ray that `pyproject.toml` bounds; it is a file of its own as it loads Ray Train.
"""

import logging
from typing import Any

from ray.train.v2._internal.execution.scaling_policy import ElasticScalingPolicy, ScalingDecision
from ray.train.v2.torch.torch_trainer import TorchTrainer

from orchestration.cluster.ray_internals import free_on_staying_nodes


class StayingNodesPolicy(ElasticScalingPolicy):
    """Ray's policy for a number of workers between two limits, without workers on nodes that do not stay."""

    # Workers.
    _running: int = 0
    # On each node that stays; None where that is not known.
    _free: dict[str, dict[str, float]] | None = None

    def make_decision_for_non_running_worker_group(self) -> ScalingDecision:
        self._running = 0
        return super().make_decision_for_non_running_worker_group()

    def make_decision_for_running_worker_group(self, worker_group_state: Any, worker_group_status: Any) -> Any:
        self._running = worker_group_state.num_workers
        return super().make_decision_for_running_worker_group(worker_group_state, worker_group_status)

    def _get_reserved_resources(self) -> Any:
        """Return what Ray has reserved, and find out what is free as often as that is found out."""
        before = self._latest_reserved_resources_query_time
        reserved = super()._get_reserved_resources()
        if self._latest_reserved_resources_query_time != before:
            try:
                self._free = free_on_staying_nodes()
            except Exception:  # the head may be out of reach for a moment
                logging.getLogger(__name__).warning("what is free on the nodes cannot be found out", exc_info=True)
                self._free = None
        return reserved

    def _count_possible_workers(self, reserved_resources: Any) -> int:
        """Return how many workers there may be, those that run included."""
        if self._free is None or reserved_resources.keys() <= self._free.keys():
            return super()._count_possible_workers(reserved_resources)
        # Ray's reservation leads to a node that does not stay; what others run on is not free.
        return min(self._running + super()._count_possible_workers(self._free), self.scaling_config.max_workers)


class ElasticTrainer(TorchTrainer):
    """A TorchTrainer whose number of workers follows the nodes that stay."""

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        return super()._initialize_and_run_controller(
            **{**arguments, "scaling_policy": StayingNodesPolicy(self.scaling_config)}  # type: ignore[arg-type]  # two Ray APIs
        )
