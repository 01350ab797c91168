"""Data sets that a run was trained and validated on, as MLflow's inputs of the run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from fcos.storage.store_conventions import public_uri
from orchestration.tracking.problems import TrackingError

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput
    from mlflow.tracking import MlflowClient

# MLflow keeps so much of a digest; 36 hexadecimal digits are still 144 bits.
MAX_DIGEST_CHARS = 36
# Error codes of a server that has no such route.
NO_ROUTE = ("ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED", "FEATURE_DISABLED")


class DatasetsNotSupported(TrackingError):
    """The tracking server is too old to keep the inputs of runs."""


@dataclass(frozen=True)
class DatasetProfile:
    """What a split holds; boxes as annotated, and how many of them are ignored as crowds."""

    num_images: int
    num_boxes: int
    num_crowd_boxes: int
    classes: tuple[str, ...]


@dataclass(frozen=True)
class RunDataset:
    """A split of the data of a run.

    `source_type` is one that MLflow knows: `local` or a scheme such as `s3` with the address of a file, `code` with
    what the code was given.
    """

    name: str
    digest: str
    context: Literal["training", "validation"]
    source_type: str
    source: Mapping[str, object]
    profile: DatasetProfile


def log_datasets(client: "MlflowClient", uri: str, run_id: str, datasets: Sequence[RunDataset]) -> None:
    """Add the data sets that a run does not have as inputs yet.

    Raises DatasetsNotSupported where the server knows no inputs, and MLflow's own errors.
    """
    from mlflow.exceptions import MlflowException

    # None of a server that knows no inputs.
    inputs = client.get_run(run_id).inputs
    known = {(each.dataset.name, each.dataset.digest) for each in (inputs.dataset_inputs if inputs else ())}
    fresh = [make_input(each) for each in datasets]
    fresh = [each for each in fresh if (each.dataset.name, each.dataset.digest) not in known]
    if not fresh:
        return
    try:
        client.log_inputs(run_id, datasets=fresh)
    except MlflowException as error:
        if error.error_code in NO_ROUTE:
            raise DatasetsNotSupported(
                f"tracking.uri={public_uri(uri)}: the server knows no inputs of runs ({error.error_code}); runs are "
                "recorded without their data sets"
            ) from None
        # Another command may have added the same data set just now, which one of the two fails by.
        client.log_inputs(run_id, datasets=fresh)


def make_input(dataset: RunDataset) -> "DatasetInput":
    """Return a data set as MLflow's input of a run, with its schema and its context."""
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    entity = Dataset(
        name=dataset.name,
        digest=dataset.digest[:MAX_DIGEST_CHARS],
        source_type=dataset.source_type,
        source=json.dumps(dict(dataset.source)),
        schema=json.dumps(_schema()),
        profile=json.dumps({**asdict(dataset.profile), "num_classes": len(dataset.profile.classes)}),
    )
    return DatasetInput(entity, [InputTag(MLFLOW_DATASET_CONTEXT, dataset.context)])


def _schema() -> Mapping[str, object]:
    """Return the schema of a sample: an RGB image, boxes as x1, y1, x2, y2 in its pixels, and their labels."""
    import numpy as np
    from mlflow.data.schema import TensorDatasetSchema
    from mlflow.types import Schema, TensorSpec

    features = Schema([TensorSpec(np.dtype("uint8"), (-1, -1, 3), "image")])
    targets = Schema(
        [TensorSpec(np.dtype("float32"), (-1, 4), "boxes"), TensorSpec(np.dtype("int64"), (-1,), "labels")]
    )
    schema: Mapping[str, object] = TensorDatasetSchema(features, targets).to_dict()
    return schema
