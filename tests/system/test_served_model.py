"""A sweep in MLflow's own terms, from its command to detections: inputs, system metrics, registry, a server."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
from PIL import Image

from tests.helpers.experiments.sweeps import (
    ROOT,
    SHARED,
    client,
    environment,
    finished,
    runs,
    start,
    trials_of,
    wait_for,
)
from tests.helpers.processes.holding import Hold
from tests.helpers.processes.ports import free_port
from tests.helpers.processes.waiting import PATIENCE

REGISTER = ROOT / "orchestration" / "register.py"
WORDS = (
    *SHARED,
    "model.postprocess.score_threshold=0.001",
    "tracking.register_as=centerness",
    "tracking.system_metrics_seconds=1",
)


def store_environment(folder: Path) -> dict[str, str]:
    uri = f"sqlite:///{folder / 'outputs' / 'mlflow.db'}"
    return {**environment(folder), "MLFLOW_TRACKING_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true"}


@contextmanager
def serve(folder: Path, model: str) -> Iterator[str]:
    """The address of a loopback server of MLflow's that has loaded a model."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", model, "--env-manager", "local"]
    variables = store_environment(folder)
    # MLflow starts the server by the name of its command.
    variables["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{variables['PATH']}"
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            [*command, "-h", "127.0.0.1", "-p", str(port)],
            env=variables, cwd=folder, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            until = time.monotonic() + PATIENCE
            while not answers(f"http://127.0.0.1:{port}/ping"):
                assert time.monotonic() < until and server.poll() is None, (folder / "server.log").read_text()
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/invocations"
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=PATIENCE)


def answers(address: str) -> bool:
    try:
        urlopen(address, timeout=1).close()
    except (URLError, OSError):
        return False
    return True


def post(address: str, content: bytes, **params: float) -> Any:
    data = {"columns": ["image"], "data": [[base64.b64encode(content).decode()]]}
    body = json.dumps({"dataframe_split": data, "params": params}).encode()
    request = Request(address, body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=PATIENCE) as answer:
        return json.loads(answer.read())["predictions"]


def run_command(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment(folder), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_runs(folder: Path, measured: Path) -> None:
    """The runs of both arms have inputs, and each point of their machine once; the best is a version."""
    store = client(folder)
    of_arms = [run for name, run in runs(folder).items() if name != "ablation_centerness"]
    assert len(of_arms) == 2
    for run in of_arms:
        assert run.inputs is not None
        contexts = [tag.value for each in run.inputs.dataset_inputs for tag in each.tags]
        assert sorted(contexts) == ["training", "validation"]
        assert run.data.metrics["system/system_memory_usage_percentage"] > 0
        points = store.get_metric_history(run.info.run_id, "system/cpu_utilization_percentage")
        assert len(points) == len({point.step for point in points}) == len(measured.read_text().splitlines())
    best = store.get_model_version_by_alias("centerness", "best")
    assert best.tags["fcos.ranked_by"] == "val/AP"
    assert float(best.tags["fcos.ranked_value"]) == max(run.data.metrics["val/AP"] for run in of_arms)


def predict(folder: Path, trial: Path, photo: Path) -> list[dict[str, Any]]:
    """What the command predicts on a photo, as a server answers."""
    run_command(folder, "-m", "fcos", "predict", str(trial), str(photo), "--output", "found", "--no-pictures")
    found = json.loads((folder / "found" / "detections.json").read_text())
    listed = json.loads((folder / "found" / "images.json").read_text())["categories"]
    names = {each["id"]: each["name"] for each in listed}
    boxes = [(each, *each["bbox"]) for each in found]
    return [
        {"corners": [x, y, x + w, y + h], "score": each["score"], "class_name": names[each["category_id"]]}
        for each, x, y, w, h in boxes
    ]


@pytest.mark.slow(minutes=2)
def test_a_sweep_is_in_the_registry_and_its_model_answers_as_predict_does(tmp_path: Path, hold: Hold) -> None:
    hold.at(6)
    process = start(tmp_path, *WORDS)
    wait_for(hold.held, process)
    (trial,) = trials_of(tmp_path)
    measured = trial / "system_metrics" / "machine_0.jsonl"
    wait_for(measured.exists, process)
    hold.release()
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output + errors
    assert "registered centerness version 1, alias best" in output
    check_runs(tmp_path, measured)
    # The same command has nothing to add.
    assert "nothing new: these weights are centerness version 1" in finished(tmp_path, *WORDS)
    assert len(client(tmp_path).search_model_versions("name='centerness'")) == 1

    photo = tmp_path / "photo.png"
    Image.effect_noise((70, 50), 80).convert("RGB").save(photo)
    words = ("ablation_centerness", "--name", "served", "--arm", "none")
    assert "registered served version 1, alias best" in run_command(tmp_path, str(REGISTER), *words)
    expected = predict(tmp_path, trial, photo)
    assert len(expected) > 0
    with serve(tmp_path, "models:/served@best") as address:
        given = post(address, photo.read_bytes())
        assert post(address, photo.read_bytes(), score_threshold=1.0) == []
        with pytest.raises(HTTPError) as refused:
            post(address, b"no picture")
        assert refused.value.code == 400 and "image 0: is not a whole image" in refused.value.read().decode()
    for one, other in zip(given, expected, strict=True):
        assert [one[key] for key in ("x1", "y1", "x2", "y2")] == pytest.approx(other["corners"], abs=2e-3)
        assert one["score"] == pytest.approx(other["score"], abs=1e-5)
        assert (one["class_name"], one["image"]) == (other["class_name"], 0)
