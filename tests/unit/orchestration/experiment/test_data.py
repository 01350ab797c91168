"""Data are prepared once for all configs that need the same of them, and checked anew for the others."""

import io
from typing import Any

import pytest
from rich.console import Console

from fcos.config.parse import parse, with_keys
from fcos.config.run import Config
from fcos.data import shared_memory
from orchestration.experiment.data import DatasetInfo, PreparedDatasets, prepare_data

NORMS = {"model.backbone.norm": "bn", "model.fpn.norm": "bn", "model.head.norm": "bn"}


@pytest.fixture
def config(tiny_values: dict[str, Any]) -> Config:
    return parse(Config, tiny_values)


def count_preparations(*configs: Config) -> int:
    """Return how many of these configs are prepared in one plan."""
    prepared: list[Config] = []

    def prepare(config: Config) -> DatasetInfo:
        prepared.append(config)
        return DatasetInfo("d")

    datasets = PreparedDatasets(prepare)
    for each in configs:
        datasets.of(each)
    return len(prepared)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.fpn.kind", "bifpn"),
        ("model.backbone.frozen_stages", 5),
        ("model.head.num_convs", 0),
        ("model.size_divisor", 64),
        ("schedule.compile", True),
        ("schedule.batch_size", 2),
    ],
)
def test_what_a_check_depends_on_is_checked_for_each_arm(config: Config, key: str, value: object) -> None:
    with_norms = with_keys(config, NORMS)
    assert count_preparations(with_norms, with_keys(with_norms, {key: value})) == 2


@pytest.mark.parametrize(
    ("key", "value"), [("model.loss.regression", "iou"), ("model.head.num_convs", 2), ("schedule.lr", 0.001)]
)
def test_other_arms_share_a_preparation(config: Config, key: str, value: object) -> None:
    without_norms = with_keys(config, {"model.backbone.norm": "frozen_bn", "model.head.norm": "gn"})
    assert count_preparations(without_norms, with_keys(without_norms, {key: value})) == 1


@pytest.mark.parametrize(("num_workers", "local", "needs"), [(1, True, True), (0, True, False), (1, False, False)])
def test_the_shared_memory_of_a_training_is_known(config: Config, num_workers: int, local: bool, needs: bool) -> None:
    config = with_keys(config, {"data.num_workers": num_workers})
    info = prepare_data(config, Console(file=io.StringIO()), 1, local=local)
    assert (info.loader_bytes > 0) is needs
    if needs:
        most = shared_memory.max_loader_bytes(config, 1)
        assert most is not None and info.loader_bytes <= most
