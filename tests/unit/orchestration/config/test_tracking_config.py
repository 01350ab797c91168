"""Settings of tracking: system metrics and the name under which a sweep's best is registered."""

import pytest

from fcos.errors import ConfigError
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.config.schema import LabConfig


def composed(*words: str) -> LabConfig:
    return compose(check_overrides(words))


def test_system_metrics_are_on_and_nothing_is_registered_by_default() -> None:
    tracking = composed().tracking
    assert tracking.sampling_seconds == 60 and tracking.register_as is None
    assert composed("tracking.system_metrics=false").tracking.sampling_seconds is None


@pytest.mark.parametrize("name", ["a/b", "a:b", "''", "-a"])
def test_a_name_that_no_registry_takes_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"register_as=.*must be 1 to 64 of the characters"):
        composed(f"tracking.register_as={name}")


def test_a_count_has_no_weights_to_register() -> None:
    with pytest.raises(ConfigError, match=r"tracking.register_as=x: has no effect with task=coverage"):
        composed("+experiment=table1_bpr", "tracking.register_as=x")
