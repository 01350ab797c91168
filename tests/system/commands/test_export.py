"""python -m fcos export, and what evaluate and predict make of the file."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from fcos.__main__ import main
from fcos.config.parse import parse
from fcos.config.run import Config
from fcos.runtime import LocalRuntime
from fcos.training_run import run
from tests.helpers.detections.exported_files import untyped_tracing


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory, module_values) -> Path:
    """The folder of a training that found out something: its AP is not zero."""
    folder = tmp_path_factory.mktemp("export") / "run"
    run(parse(Config, module_values), LocalRuntime(folder, torch.device("cpu")))
    return folder


@pytest.fixture(scope="module")
def module_values(tmp_path_factory: pytest.TempPathFactory, read_group) -> dict:
    values = {
        "model": read_group("model", "fcos_small"),
        "data": read_group("data", "synthetic"),
        "schedule": read_group("schedule", "embedded"),
        "seed": 0,
    }
    values["model"]["backbone"]["widths"] = [16, 16, 16, 16, 16]
    values["model"]["fpn"]["channels"] = 16
    values["model"]["head"]["num_convs"] = 1
    values["model"]["postprocess"]["score_threshold"] = 0.001
    values["data"]["synthetic"] |= {"image_size": 64, "train_images": 24, "val_images": 12, "object_size": [10, 40]}
    values["data"]["cache_dir"] = str(tmp_path_factory.mktemp("cache"))
    values["schedule"] |= {"steps": 40, "warmup_steps": 4, "log_every": 20, "eval_every": 40, "checkpoint_every": 40}
    return values


def numbers_of(output: Path, *arguments: str) -> dict:
    assert main(["evaluate", *arguments, "--output", str(output)]) == 0
    numbers: dict = json.loads(output.read_text())
    return numbers


@pytest.fixture(scope="module")
def files(run_folder: Path) -> dict[str, Path]:
    """The exported files by whether they give detections."""
    with untyped_tracing():
        for name, *more in (("detector",), ("raw", "--raw", "--torch-export")):
            assert main(["export", str(run_folder), "--onnx", "--output", str(run_folder / name), *more]) == 0
    return {"detections": run_folder / "detector.onnx", "head outputs": run_folder / "raw.onnx"}


@pytest.mark.parametrize("gives", ["detections", "head outputs"])
def test_a_file_has_the_metrics_of_its_run(
    gives: str, run_folder: Path, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = numbers_of(tmp_path / "run.json", str(run_folder))
    cache = json.loads((run_folder / "checkpoints" / "step_00000040" / "config.json").read_text())["config"]["data"]
    own = ("--set", f"data.cache_dir={cache['cache_dir']}")
    found = numbers_of(tmp_path / "file.json", str(files[gives]), *own, "--latency", "2", "--latency-batch", "2")
    assert expected["metrics"]["val/AP"] > 0 and found["step"] == expected["step"]
    assert found["metrics"] == pytest.approx(expected["metrics"], abs=1e-4)
    latency = found["latency"]
    assert (
        latency["batch"] == 2 and latency["canvas"] == [64, 64] and latency["runs"] == 2 and latency["device"] == "cpu"
    )
    assert f"sha256 {latency['sha256'][:12]}" in capsys.readouterr().out
    timed = numbers_of(tmp_path / "timed.json", str(run_folder), "--latency", "1")
    assert timed["latency"]["runtime"].startswith("torch ") and len(timed["latency"]["sha256"]) == 64


def test_a_file_predicts_what_its_run_does(run_folder: Path, files: dict[str, Path], tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, size in enumerate(((50, 70), (64, 40), (200, 133))):
        Image.effect_noise(size, 80).convert("RGB").save(photos / f"{number}.png")
    results = {}
    for name, path in (("run", run_folder), ("file", files["detections"])):
        output = tmp_path / name
        assert main(["predict", str(path), str(photos), "--output", str(output), "--batch", "2"]) == 0
        results[name] = json.loads((output / "detections.json").read_text())
    assert len(results["run"]) == len(results["file"]) > 0
    for theirs, ours in zip(results["run"], results["file"], strict=True):
        assert (ours["image_id"], ours["category_id"]) == (theirs["image_id"], theirs["category_id"])
        assert ours["bbox"] == pytest.approx(theirs["bbox"], abs=1e-2)


def test_mistakes_are_refused_in_a_line(
    run_folder: Path, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(files["detections"])
    for arguments, message in (
        (["export", str(run_folder)], "names no format; give --onnx, --torch-export or both"),
        (["export", str(run_folder), "--onnx", "--opset", "7"], "--opset 7: must lie in 18..23"),
        (["export", str(run_folder), "--onnx", "--set", "model.postprocess.tta_flip=true"], "export with --raw"),
        (["draw", file], "is an exported file, which evaluate and predict run"),
        (["evaluate", str(run_folder / "raw.pt2")], "torch loads such a file by executing what it holds"),
        (["evaluate", file, "--model", "torchvision"], "--model torchvision: is for a file of published weights"),
        (["evaluate", file, "--set", "model.postprocess.nms_threshold=0.5"], "a file exported with --raw has its"),
        (["evaluate", str(tmp_path / "none.onnx")], "none.onnx: no such file"),
    ):
        assert main(arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
