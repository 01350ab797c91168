"""MLflow's server of one registered model, on loopback."""

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.helpers.experiments.sweeps import environment
from tests.helpers.processes.ports import free_port
from tests.helpers.processes.waiting import PATIENCE
from tests.helpers.servers.start import responds, start_server


@contextmanager
def model_server(folder: Path, model: str, variables: Mapping[str, str]) -> Iterator[str]:
    """The address at which a model answers; variables: of the process, with the store that has the model."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", model, "--env-manager", "local"]
    # MLflow starts the server by the name of its command.
    path = f"{Path(sys.executable).parent}{os.pathsep}{variables['PATH']}"
    server = start_server(
        [*command, "-h", "127.0.0.1", "-p", str(port)],
        folder / "server.log",
        lambda: responds(f"http://127.0.0.1:{port}/ping"),
        env={**variables, "PATH": path},
    )
    try:
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=PATIENCE)


def post(address: str, content: bytes, **params: float) -> Any:
    """The detections on a picture's bytes."""
    data = {"columns": ["image"], "data": [[base64.b64encode(content).decode()]]}
    body = json.dumps({"dataframe_split": data, "params": params}).encode()
    request = Request(address, body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=PATIENCE) as answer:
        return json.loads(answer.read())["predictions"]


def run_command(folder: Path, *words: str, variables: Mapping[str, str] | None = None) -> str:
    """What a command of Python prints that ends well; variables: beside those of a sweep in the folder."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**environment(folder), **(variables or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_answer(address: str, folder: Path, trial: Path, photo: Path) -> None:
    """A model answers as the command predicts with the training's folder."""
    expected = _predict(folder, trial, photo)
    assert len(expected) > 0
    for one, other in zip(post(address, photo.read_bytes()), expected, strict=True):
        assert [one[key] for key in ("x1", "y1", "x2", "y2")] == pytest.approx(other["corners"], abs=2e-3)
        assert one["score"] == pytest.approx(other["score"], abs=1e-5)
        assert (one["class_name"], one["image"]) == (other["class_name"], 0)


def _predict(folder: Path, trial: Path, photo: Path) -> list[dict[str, Any]]:
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
