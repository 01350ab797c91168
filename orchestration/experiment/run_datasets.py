"""The splits that a training reads, described for its run in the tracking store."""

from pathlib import Path
from typing import Literal

from fcos.config.run import DataConfig
from fcos.storage.bucket.address import Address, is_address
from orchestration.experiment.data import DatasetInfo, SplitCounts
from orchestration.tracking.datasets import DatasetProfile, RunDataset

# What draws synthetic images, as MLflow's own tag for the code that a data set comes from.
GENERATOR = {"mlflow.source.name": "fcos/data/synthetic.py"}


def run_datasets(config: DataConfig, info: DatasetInfo) -> tuple[RunDataset, ...]:
    """Return the data sets of a training; none where the preparation counted nothing."""
    return tuple(_run_dataset(config, info, counts) for counts in info.splits)


def _run_dataset(config: DataConfig, info: DatasetInfo, counts: SplitCounts) -> RunDataset:
    profile = DatasetProfile(counts.num_images, counts.num_boxes, counts.num_crowd_boxes, info.classes or ())
    context: Literal["training", "validation"] = "training" if counts.split == "train" else "validation"
    if config.synthetic is not None:
        settings = {f"data.synthetic.{key}": value for key, value in config.synthetic.model_dump(mode="json").items()}
        tags = {"tags": {**GENERATOR, "split": counts.split, **settings}}
        return RunDataset(f"{config.name} {counts.split}", info.digest, context, "code", tags, profile)
    split = config.train if counts.split == "train" else config.val
    assert config.root is not None and split is not None, "checked by DataConfig"
    name = f"{Path(config.root).name or config.name} {counts.split}"
    kind, uri = "local", str(Path(config.root) / split.annotations)
    if is_address(config.root):
        address = Address.parse(config.root)
        # MLflow's sources are named by the scheme.
        kind, uri = address.scheme, f"{address}/{split.annotations}"
    return RunDataset(name, info.digest, context, kind, {"uri": uri}, profile)
