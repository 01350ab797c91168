"""Machines that will be taken away: how a training of one process hears of it, and how it leaves without a failure."""

from typing import NoReturn


def node_drains() -> bool:
    """Whether the machine of this process has had notice that it will be taken away."""
    import ray

    # As Ray Train's own watcher asks; there is no public question. https://github.com/ray-project/ray, preemption.py
    from ray._private.state import state

    return ray.get_runtime_context().get_node_id() in state.get_draining_nodes()


def leave(message: str) -> NoReturn:
    """End a Tune trial so that it starts again elsewhere and no failure is counted."""
    from ray.exceptions import RayActorError

    # What Tune does not count are actors that a preemption ended, also where a trial tells of them.
    raise RayActorError(error_msg=message, preempted=True)
