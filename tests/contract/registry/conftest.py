"""A store whose runs can be registered, a photo, and a registered model as MLflow loads it."""

from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pytest
from mlflow.pyfunc import PyFuncModel
from PIL import Image

from fcos.storage.store_conventions import default_uri
from tests.helpers.registered import Lab, make_lab


@pytest.fixture
def lab(tmp_path: Path, tiny_values: dict[str, Any], empty_store: bytes) -> Lab:
    return make_lab(tmp_path / "outputs", tiny_values, empty_store)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    noise = np.random.default_rng(7).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture(scope="module")
def served_lab(tmp_path_factory: pytest.TempPathFactory, module_tiny_values: dict[str, Any], empty_store: bytes) -> Lab:
    """A store, which no test changes, whose only trial is registered as `mine`."""
    made = make_lab(tmp_path_factory.mktemp("served") / "outputs", module_tiny_values, empty_store)
    made.trial("branch", 0, {"val/AP": 0.5})
    assert made.register("mine", "--name", "mine") == 0
    return made


@pytest.fixture(scope="module")
def served(served_lab: Lab) -> PyFuncModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", default_uri(served_lab.output))
        model: PyFuncModel = mlflow.pyfunc.load_model("models:/mine@best", model_config={"device": "cpu"})
    return model
