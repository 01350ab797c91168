"""A registered model as MLflow loads it: its answers, what it carries, where it runs."""

import base64
import json
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from importlib.metadata import packages_distributions
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel

from fcos.config.parse import set_value
from fcos.inference import load_trained
from fcos.prediction.predictor import Predictor
from fcos.storage.store_conventions import default_uri
from orchestration.registry import save_model
from orchestration.registry.requirements import PACKAGES
from orchestration.tracking.store import open_store
from tests.helpers.registered import CLASSES, Lab

ROOT = Path(__file__).parents[3]


def test_an_arm_is_registered_with_its_own_evaluation_settings(
    lab: Lab, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm = set_value(lab.values, "model.postprocess.max_detections", 2)
    replace(lab, values=arm).trial("few", 0, {"val/AP": 0.5})
    assert lab.register("mine", "--name", "mine") == 0
    monkeypatch.setenv("MLFLOW_TRACKING_URI", default_uri(lab.output))
    model = mlflow.pyfunc.load_model("models:/mine@best", model_config={"device": "cpu"})
    assert len(model.predict(pd.DataFrame({"image": [photo.read_bytes()]}))) == 2


def test_its_answer_is_what_the_detector_detects(served_lab: Lab, photo: Path, served: PyFuncModel) -> None:
    predictor = Predictor(load_trained(served_lab.checkpoint, torch.device("cpu"), {}))
    (expected,) = predictor.detect([predictor.read(photo).sample])
    table: pd.DataFrame = served.predict(pd.DataFrame({"image": [photo.read_bytes(), photo.read_bytes()]}))
    assert list(table.columns) == ["image", "x1", "y1", "x2", "y2", "score", "label", "class_name"]
    assert list(table["image"]) == [0] * 5 + [1] * 5
    first = table[table["image"] == 0]
    np.testing.assert_allclose(first[["x1", "y1", "x2", "y2"]].to_numpy(), expected.boxes.numpy(), atol=1e-4)
    np.testing.assert_allclose(first["score"].to_numpy(), expected.scores.numpy(), atol=1e-6)
    assert list(first["label"]) == expected.labels.tolist()
    assert list(first["class_name"]) == [CLASSES[label] for label in expected.labels.tolist()]
    threshold = float(first["score"].sort_values().iloc[2])
    high: pd.DataFrame = served.predict(
        pd.DataFrame({"image": [photo.read_bytes()]}), params={"score_threshold": threshold}
    )
    assert len(high) == 3 and high["score"].min() >= threshold
    text = base64.encodebytes(photo.read_bytes()).decode()
    assert len(served.predict(pd.DataFrame({"image": [text]}))) == 5


def test_a_model_has_signature_example_and_origin(served_lab: Lab, served: PyFuncModel) -> None:
    info = served.metadata
    assert info.get_input_schema().to_dict() == [{"type": "binary", "name": "image", "required": True}]
    assert info.get_output_schema().input_names()[:2] == ["image", "x1"]
    assert info.get_params_schema().to_dict()[0]["default"] == 0.0
    assert len(served.predict(served.input_example)) == len(served.predict(save_model.make_example())) > 0
    assert info.metadata is not None
    assert info.metadata["run_id"] == served_lab.version_of().run_id and info.metadata["classes"] == list(CLASSES)
    assert (info.metadata["train_identity"], info.metadata["data_digest"]) == ("7a" * 32, "da" * 32)


def test_a_model_holds_no_pickle_and_no_path_of_this_machine(lab: Lab) -> None:
    lab.trial("branch", 0, {"val/AP": 0.5})
    assert lab.register("mine", "--name", "mine") == 0
    (model,) = lab.client.search_logged_models([lab.store.experiment_id])
    folder = Path(mlflow.artifacts.download_artifacts(model.artifact_location))
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in (".pkl", ".pickle", ".pt", ".pth", ".lock", ".pyc")]
    own = [path for path in files if "fcos" not in path.relative_to(folder).parts[1:-1]]
    texts = {path.name: path.read_text() for path in own if path.suffix != ".safetensors"}
    assert {"MLmodel", "requirements.txt", "detector.json", "detector_model.py", "input_example.json"} <= set(texts)
    for name, text in texts.items():
        assert str(lab.output.parent) not in text and str(ROOT) not in text and "/tmp" not in text, name
    requirements = texts["requirements.txt"].splitlines()
    assert {line.partition("==")[0] for line in requirements} == set(PACKAGES)
    assert all("==" in line and "+" not in line and "/" not in line for line in requirements)


FRESH = """
import json, sys
import pandas, mlflow.pyfunc
model = mlflow.pyfunc.load_model("models:/mine@best", model_config={"device": "cpu"})
rows = len(model.predict(pandas.DataFrame({"image": [open(sys.argv[1], "rb").read()]})))
import fcos
print(json.dumps([rows, fcos.__file__, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def test_where_nothing_of_this_project_is_loaded_the_models_own_code_answers(
    served_lab: Lab, photo: Path, served: PyFuncModel, tmp_path: Path
) -> None:
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": default_uri(served_lab.output),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    done = subprocess.run(
        [sys.executable, "-P", "-c", FRESH, str(photo)],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows, file, modules = json.loads(done.stdout.splitlines()[-1])
    assert rows == 5
    assert Path(file).is_relative_to(served_lab.output / "mlartifacts")
    assert not {"orchestration", "analysis", "ray", "hydra"} & set(modules)
    # Of this project's direct dependencies those that were loaded are all required.
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    direct = {line.split(">")[0].split("[")[0].lower() for line in declared}
    by_module = packages_distributions()
    loaded = {name.lower() for module in modules for name in by_module.get(module, ())}
    # MLflow loads the one and Pillow the other.
    assert (loaded & direct) - set(PACKAGES) - {"jinja2", "defusedxml"} == set()


@pytest.mark.parametrize(
    ("content", "params", "reason"),
    [
        (b"no picture", {}, "image 0: is not a whole image"),
        (b"", {}, "image 0: is not a whole image"),
        ("!", {}, "image 0: is neither bytes nor base64"),
        (None, {"score_threshold": 1.5}, "score_threshold=1.5: must lie between 0 and 1"),
    ],
)
def test_what_is_no_picture_is_refused_with_the_reason(
    photo: Path,
    served: PyFuncModel,
    content: bytes | str | None,
    params: dict[str, float],
    reason: str,
) -> None:
    table = pd.DataFrame({"image": [photo.read_bytes() if content is None else content]})
    with pytest.raises(MlflowException, match=reason) as refused:
        served.predict(table, params=params)
    assert refused.value.get_http_status_code() == 400
    assert "/tmp" not in str(refused.value)


def test_a_moved_store_keeps_its_models(lab: Lab, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.trial("branch", 0, {"val/AP": 0.5})
    assert lab.register("mine", "--name", "mine") == 0
    moved = lab.output.with_name("moved")
    shutil.move(lab.output, moved)
    store = open_store(default_uri(moved), "lab", moved / "mlartifacts")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", default_uri(moved))
    uri = store.client.get_model_version_download_uri("mine", "1")
    assert uri.startswith((moved / "mlartifacts").as_uri())
    model = mlflow.pyfunc.load_model("models:/mine@best", model_config={"device": "cpu"})
    assert len(model.predict(pd.DataFrame({"image": [photo.read_bytes()]}))) == 5
    assert not lab.output.exists()
