"""A trained detector as a folder in MLflow's model format: weights, configuration, code, signature and example."""

import io
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fcos.errors import ConfigError
from fcos.installation import ROOT
from fcos.storage.store_conventions import quiet_libraries
from orchestration.registry.requirements import pinned_requirements

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

    from fcos.inference import Trained

MLMODEL = "MLmodel"
FLAVOR = "python_function"
# Else MLflow copies the environment of the current folder into the model, download addresses and all.
ENVIRONMENT = {"MLFLOW_UV_AUTO_DETECT": "false", "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false"}
EXAMPLE_SIZE = 128


@dataclass(frozen=True)
class SavedModel:
    """A folder in MLflow's model format, which has been loaded and has answered."""

    folder: Path
    # Step of its weights.
    step: int


def save_model(trained: "Trained", folder: Path, metadata: Mapping[str, object]) -> SavedModel:
    """Write a detector in MLflow's model format below an empty folder, and predict with what was written.

    metadata: plain values that the model carries. Raises ConfigError for a detector that cannot predict on pictures
    alone.
    """
    import mlflow.pyfunc

    from fcos.prediction.detector_folder import write_detector
    from fcos.prediction.predictor import Predictor
    from orchestration.registry import detector_model

    quiet_libraries()
    # Refuses what needs annotated boxes.
    Predictor(trained)
    written = folder / detector_model.DETECTOR
    record = write_detector(trained, written)
    model = folder / "model"
    with _environment():
        mlflow.pyfunc.save_model(
            path=str(model),
            python_model=str(Path(detector_model.__file__)),
            artifacts={detector_model.DETECTOR: str(written)},
            code_paths=[str(ROOT / "fcos")],
            model_config={detector_model.DEVICE: "auto"},
            signature=make_signature(),
            input_example=make_example(),
            pip_requirements=pinned_requirements(),
            metadata={**metadata, "classes": list(record.classes), "weights_sha256": record.weights_sha256},
        )
    rewrite(model, {})
    _check_answer(model)
    return SavedModel(model, record.step)


def rewrite(model: Path, ids: Mapping[str, str]) -> None:
    """Set fields of a saved model's MLmodel file, and leave out where its parts lay on this machine."""
    from mlflow.models import Model

    loaded: Model = Model.load(str(model))
    flavor = loaded.flavors[FLAVOR]
    flavor["model_code_path"] = Path(flavor["model_code_path"]).name
    for artifact in flavor["artifacts"].values():
        artifact["uri"] = artifact["path"]
    for name, value in ids.items():
        setattr(loaded, name, value)
    loaded.save(str(model / MLMODEL))


def make_signature() -> "ModelSignature":
    """Return the signature: encoded pictures in, a row for each detection out, the lowest score as a parameter."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    from orchestration.registry.detector_model import COLUMNS, IMAGE, THRESHOLD

    types = {IMAGE: DataType.long, "label": DataType.long, "class_name": DataType.string}
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, IMAGE)]),
        outputs=Schema([ColSpec(types.get(name, DataType.double), name) for name in COLUMNS]),
        params=ParamSchema([ParamSpec(THRESHOLD, DataType.double, 0.0)]),
    )


def make_example() -> "pd.DataFrame":
    """Return a request of one drawn picture, a PNG file's bytes."""
    import pandas as pd
    from PIL import Image, ImageDraw

    from orchestration.registry.detector_model import IMAGE

    picture = Image.new("RGB", (EXAMPLE_SIZE, EXAMPLE_SIZE), (206, 208, 204))
    drawing = ImageDraw.Draw(picture)
    drawing.ellipse((20, 24, 68, 72), fill=(176, 62, 50))
    drawing.rectangle((76, 60, 116, 108), fill=(52, 92, 160))
    content = io.BytesIO()
    picture.save(content, "PNG")
    return pd.DataFrame({IMAGE: [content.getvalue()]})


def _check_answer(model: Path) -> None:
    """Load a saved model and predict on its example; raises ConfigError where it does not answer."""
    import mlflow.pyfunc
    from mlflow.exceptions import MlflowException

    from orchestration.registry.detector_model import DEVICE

    # MLflow puts the code of a model before everything else.
    paths = list(sys.path)
    try:
        mlflow.pyfunc.load_model(str(model), model_config={DEVICE: "cpu"}).predict(make_example())
    except MlflowException as error:
        raise ConfigError(f"the saved model does not answer, so it is not registered: {error.message}") from None
    finally:
        sys.path[:] = paths
        # Compiled here, and with the paths of here.
        for compiled in list(model.rglob("__pycache__")):
            shutil.rmtree(compiled)


@contextmanager
def _environment() -> Iterator[None]:
    """Set ENVIRONMENT while the block runs."""
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
