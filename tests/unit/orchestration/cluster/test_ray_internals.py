"""What a Ray on one machine does without."""

import os

import pytest

from orchestration.cluster.connect import ENVIRONMENT
from orchestration.cluster.ray_internals import inherited_environment, without_helpers


@pytest.mark.ray
def test_helpers_that_one_machine_has_no_use_for_are_left_out_while_ray_starts() -> None:
    from ray._private.node import Node

    names = ("start_monitor", "start_log_monitor", "start_api_server")
    before = [getattr(Node, name) for name in names]
    with pytest.raises(RuntimeError), without_helpers():
        node = object.__new__(Node)
        assert node.start_monitor() is node.start_log_monitor() is None
        assert node.start_api_server(include_dashboard=False, raise_on_failure=False) is None
        raise RuntimeError
    assert [getattr(Node, name) for name in names] == before


@pytest.mark.ray
def test_trials_inherit_the_environment_that_tune_would_give_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.tune.execution import class_cache

    class Trainable:
        pass

    for name, value in ENVIRONMENT.items():
        monkeypatch.setitem(os.environ, name, value)
    own = class_cache._ActorClassCache().get(Trainable)._default_options["runtime_env"]["env_vars"]
    assert own["PL_DISABLE_FORK"] == "1" and own.items() <= os.environ.items()
    with inherited_environment():
        assert not class_cache._ActorClassCache().get(Trainable)._default_options["runtime_env"]
    assert class_cache._ActorClassCache().get(Trainable)._default_options["runtime_env"]["env_vars"] == own
