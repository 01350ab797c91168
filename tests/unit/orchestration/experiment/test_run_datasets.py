"""The data sets that a training's run gets: name, digest, source, sizes."""

import io
from pathlib import Path
from typing import Any

import pytest
from mlflow.data.dataset_source_registry import get_registered_sources
from rich.console import Console

from fcos.config.parse import parse
from fcos.config.run import Config
from fcos.data.prepare import prepare
from orchestration.experiment.data import DatasetInfo, PreparedDatasets, SplitCounts, prepare_data
from orchestration.experiment.run_datasets import run_datasets


@pytest.fixture
def config(tiny_values: dict[str, Any]) -> Config:
    return parse(Config, tiny_values)


def test_drawn_shapes_come_from_code_with_their_settings(config: Config) -> None:
    info = prepare_data(config, Console(file=io.StringIO()), 1)
    train, val = run_datasets(config.data, info)
    assert (train.name, val.name) == ("synthetic train", "synthetic val")
    assert (train.context, val.context) == ("training", "validation")
    assert train.digest == val.digest == info.digest == prepare(config.data).digest
    assert train.source_type == "code" and train.source != val.source
    tags = train.source["tags"]
    assert isinstance(tags, dict) and tags["data.synthetic.image_size"] == 64 and tags["split"] == "train"
    prepared = prepare(config.data)
    assert train.profile.num_images == 24 and val.profile.num_images == 6
    assert train.profile.num_boxes == len(prepared.train.annotations.labels) > 0
    assert train.profile.num_crowd_boxes == 0 and train.profile.classes == prepared.classes


def test_files_are_named_as_the_configuration_names_them(tiny_values: dict[str, Any], tmp_path: Path) -> None:
    root = tmp_path / "photos"
    tiny_values["data"] |= {
        "name": "coco",
        "synthetic": None,
        "root": str(root),
        "train": {"annotations": "train.json", "images": "train"},
        "val": {"annotations": "/elsewhere/val.json", "images": "val"},
    }
    info = DatasetInfo("ab" * 32, splits=(SplitCounts("train", 3, 9, 2), SplitCounts("val", 1, 1, 0)), classes=("a",))
    train, val = run_datasets(parse(Config, tiny_values).data, info)
    assert (train.name, train.source_type, train.source) == ("photos train", "local", {"uri": f"{root}/train.json"})
    assert (val.name, val.source) == ("photos val", {"uri": "/elsewhere/val.json"})
    assert (train.profile.num_boxes, train.profile.num_crowd_boxes) == (9, 2)


def test_files_in_a_bucket_are_named_by_their_addresses_and_a_source_that_mlflow_knows(
    tiny_values: dict[str, Any],
) -> None:
    splits = {name: {"annotations": f"{name}.json", "images": name} for name in ("train", "val")}
    tiny_values["data"] |= {"name": "coco", "synthetic": None, "root": "s3://lab/photos", **splits}
    info = DatasetInfo("ab" * 32, splits=(SplitCounts("train", 3, 9, 2),), classes=("a",))
    (train,) = run_datasets(parse(Config, tiny_values).data, info)
    assert (train.name, train.source_type) == ("photos train", "s3")
    assert train.source == {"uri": "s3://lab/photos/train.json"}
    assert "s3" in {source._get_source_type() for source in get_registered_sources()}


def test_data_that_were_not_counted_are_no_data_sets(config: Config) -> None:
    assert run_datasets(config.data, DatasetInfo("ab" * 32)) == ()


def test_prepared_data_are_found_by_their_digest(config: Config) -> None:
    datasets = PreparedDatasets(lambda _: DatasetInfo("ab", splits=(SplitCounts("train", 1, 2, 0),)))
    assert datasets.find("ab") is None
    datasets.of(config)
    found = datasets.find("ab")
    assert found is not None and found.splits[0].num_boxes == 2
    assert datasets.find("cd") is None
