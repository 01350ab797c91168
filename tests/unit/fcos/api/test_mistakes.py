"""What a caller of `import fcos` gets wrong is one ConfigError that names the argument, the value and the rule."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import fcos
from fcos.build import build_detector
from fcos.config.parse import with_keys
from fcos.inference import Trained
from tests.helpers.data.labelled_folders import box, image, write_folder
from tests.helpers.data.tiny_changes import tiny_changes


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> fcos.Config:
    return fcos.configure(changes=tiny_changes(tmp_path_factory.mktemp("tiny") / "cache"))


@pytest.fixture(scope="module")
def detector(config: fcos.Config) -> Trained:
    """A detector with random weights, of no checkpoint."""
    torch.manual_seed(0)
    network = build_detector(config.model, 2, channels_last=False).eval()
    every = with_keys(config, {"model.postprocess.score_threshold": 0.0})
    return Trained(network, every, ("cat", "dog"), step=1, device=torch.device("cpu"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "fcos_smal"}, "model=fcos_smal: no such option; did you mean fcos_small"),
        ({"data": "auto"}, "data=auto: is chosen by commands alone; write COCO files with fcos.convert"),
        ({"data": "coco"}, "data.root is missing"),
        ({"schedule": "long"}, "schedule=long: no such option; "),
        ({"changes": {"schedule.stepz": 3}}, "schedule.stepz=3: no such key; did you mean steps"),
        ({"changes": {"schedule.steps": -1}}, "schedule.steps=-1: input should be greater than or equal to 1"),
        ({"changes": {"model.levels.0": 3}}, "model.levels.0: levels is a value, not a section"),
        ({"changes": {3: 4}}, "changes=<int>: has another type; its keys are dotted names of settings"),
        ({"changes": "schedule.steps=3"}, "changes=<str>: has another type; give a mapping"),
    ],
)
def test_configure_names_the_key(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(fcos.ConfigError) as raised:
        fcos.configure(**arguments)
    assert message in str(raised.value)


def test_a_model_brings_its_schedule_along_unless_another_is_given() -> None:
    assert fcos.configure(model="fcos_lite").schedule.batch_size == 4
    assert fcos.configure(model="fcos_lite", schedule="embedded").schedule.batch_size == 8
    assert fcos.configure().schedule.batch_size == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "nowhere"}, "nowhere: no such folder or file"),
        ({"path": "."}, "holds no checkpoint"),
        ({"path": 3}, "path=<int>: has another type; give a folder or a file"),
        ({"path": ".", "device": "gpu"}, "device='gpu': no such choice; "),
        ({"path": ".", "published": "official_v1"}, "published official_v1: is for a weights file"),
        ({"path": "detector.onnx", "published": "official_v1"}, "published=official_v1: is for a file of published"),
        ({"path": "detector.pt2"}, "detector.pt2: torch loads such a file by executing what it holds"),
        ({"path": ".", "changes": ["a=b"]}, "changes=<list>: has another type"),
    ],
)
def test_load_names_what_is_not_there(
    arguments: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(fcos.ConfigError) as raised:
        fcos.load(**arguments)
    assert message in str(raised.value)


def gray(*shape: int, dtype: Any = np.uint8) -> np.ndarray[Any, Any]:
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": "nowhere"}, "nowhere: no such folder or file"),
        ({"images": []}, "images=[]: names no image"),
        ({"images": gray(8, 8)}, "images[0]: is 8 x 8 of uint8; give H x W x 3 of uint8, RGB"),
        ({"images": gray(3, 8, 8)}, "images[0]: is 3 x 8 x 8 of uint8"),
        ({"images": [gray(8, 8, 3), gray(8, 8, 3, dtype=float)]}, "images[1]: is 8 x 8 x 3 of float64"),
        ({"images": gray(0, 8, 3)}, "images[0]: is 0 x 8 x 3 of uint8"),
        ({"images": [gray(8, 8, 3), "a.png"]}, "images: has both paths and pixels; give them in two calls"),
        ({"images": [3]}, "images[0]: is int; give a path, an image of Pillow, or an array"),
        ({"images": gray(8, 8, 3), "score": 2}, "score=2: must lie between 0 and 1"),
        ({"images": gray(8, 8, 3), "classes": ["cot"]}, "classes='cot': no such class; did you mean cat?"),
        ({"images": gray(8, 8, 3), "classes": "cat"}, "classes='cat': must be a list of names"),
        ({"images": gray(8, 8, 3), "batch_size": 0}, "batch_size=0: must be a whole number, 1 or more"),
    ],
)
def test_predict_names_the_argument(detector: Trained, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(fcos.ConfigError) as raised:
        fcos.predict(detector, **arguments)
    assert message in str(raised.value)


def test_a_broken_file_raises_or_is_reported_and_left_out(detector: Trained, tmp_path: Path) -> None:
    for name in ("b.png", "c.png"):
        Image.new("RGB", (64, 48)).save(tmp_path / name)
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(fcos.ConfigError, match=r"a\.png: "):
        fcos.predict(detector, tmp_path)
    reasons: list[str] = []
    found = fcos.predict(detector, tmp_path, on_failure=reasons.append)
    assert [each.name for each in found] == ["b.png", "c.png"] and len(reasons) == 1


def test_files_and_their_pixels_have_the_same_detections(detector: Trained, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    [file] = fcos.predict(detector, tmp_path / "a.png")
    for given in (pixels, Image.fromarray(pixels)):
        [own] = fcos.predict(detector, given)
        assert len(own.boxes) > 0 and own.size == (48, 64)
        assert torch.equal(own.boxes, file.boxes) and torch.equal(own.scores, file.scores)
    [cats] = fcos.predict(detector, pixels, classes=["cat"])
    assert set(cats.names) == {"cat"} and set(file.names) == {"cat", "dog"}
    assert fcos.draw(file, score=0.0).tobytes() == fcos.draw(own, score=0.0).tobytes()


@pytest.mark.parametrize("function", [fcos.evaluate, lambda path: fcos.predict(path, "a.png")])
def test_a_path_instead_of_a_detector_is_refused(function: Callable[[Any], object]) -> None:
    with pytest.raises(fcos.ConfigError, match=r"detector=<str>: has another type; give what fcos\.load returns"):
        function("outputs/run")


def test_train_refuses_what_is_no_training(config: fcos.Config, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused: list[tuple[dict[str, Any], str]] = [
        ({"config": config, "folder": tmp_path / "file"}, r"file: is a file; give a folder"),
        ({"config": {"model": 1}, "folder": tmp_path}, "config=<dict>: has another type; give what fcos.configure"),
        ({"config": config, "folder": tmp_path, "device": "tpu"}, "device='tpu': no such choice"),
        ({"config": with_keys(config, {"task": "coverage"}), "folder": tmp_path}, "task=coverage: trains nothing"),
    ]
    for arguments, message in refused:
        with pytest.raises(fcos.ConfigError, match=message):
            fcos.train(**arguments)


def first_box(boxes: torch.Tensor, xy: torch.Tensor, strides: torch.Tensor) -> torch.Tensor:
    """Assign the locations inside of the first box to it."""
    inside = ((xy > boxes[0, :2]) & (xy < boxes[0, 2:])).all(1)
    return torch.where(inside, 0, -1)


def test_a_folder_with_another_training_is_refused(config: fcos.Config, tmp_path: Path) -> None:
    short = with_keys(config, {"schedule.steps": 3, "schedule.eval_every": 3})
    first = fcos.train(short, tmp_path)
    with pytest.raises(fcos.ConfigError, match=r"has a training with other settings \(seed=0\); give another folder"):
        fcos.train(with_keys(short, {"seed": 1}), tmp_path)
    with pytest.raises(fcos.ConfigError, match="has a training with match=None; give another folder"):
        fcos.train(short, tmp_path, match=first_box)
    # The same one is done, with the same numbers; what decides no number may be another.
    again = fcos.train(with_keys(short, {"schedule.log_every": 1}), tmp_path)
    assert (again.metrics, again.step, again.curve("train/loss")) == (first.metrics, 3, [])


def test_a_rule_of_ones_own_needs_a_model_that_takes_one(config: fcos.Config, tmp_path: Path) -> None:
    oracle = with_keys(config, {"model.postprocess.oracle": "class"})
    for refused in (fcos.train, fcos.draw_assignment):
        arguments: dict[str, Any] = {"folder": tmp_path} if refused is fcos.train else {}
        with pytest.raises(fcos.ConfigError, match=r"oracles and the analysis `ambiguous` take model\.assignment"):
            refused(oracle, **arguments, match=first_box)


def test_draw_assignment_names_what_is_missing(config: fcos.Config) -> None:
    with pytest.raises(fcos.ConfigError, match=r"image 000000\.pn: .* has no image .* did you mean 000000\.png"):
        fcos.draw_assignment(config, image="000000.pn")
    with pytest.raises(fcos.ConfigError, match="split='test': no such choice"):
        fcos.draw_assignment(config, split="test")  # type: ignore[arg-type]
    simota = with_keys(config, {"model.assignment.kind": "simota"})
    with pytest.raises(fcos.ConfigError, match=r"kind=simota: assigns by a detector's outputs; give detector="):
        fcos.draw_assignment(simota)


def test_export_names_the_suffix_and_the_origin(detector: Trained, tmp_path: Path) -> None:
    for name, message in (
        ("detector.pth", "must end in .onnx or .pt2"),
        ("detector.pt2", "a detector without a checkpoint has no origin to record"),
    ):
        with pytest.raises(fcos.ConfigError, match=message):
            fcos.export(detector, tmp_path / name)
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(fcos.ConfigError, match="is a folder; give the name of a file in it"):
        fcos.export(detector, tmp_path / "folder.onnx")


def test_draw_takes_predictions_alone() -> None:
    with pytest.raises(fcos.ConfigError, match="prediction=<list>: has another type; give one of those that"):
        fcos.draw([])  # type: ignore[arg-type]


def test_inspect_and_convert_name_the_folder_and_arguments(tmp_path: Path) -> None:
    with pytest.raises(fcos.ConfigError, match="nowhere"):
        fcos.inspect(tmp_path / "nowhere")
    with pytest.raises(fcos.ConfigError, match="is a folder; give the file of the page"):
        fcos.inspect(tmp_path, page=tmp_path)
    root = write_folder(tmp_path / "data", "yolo", [image("a.png", box()), image("b.png", box())])
    for arguments, message in (
        ({"format": "yoyo"}, "format='yoyo': no such choice; did you mean yolo"),
        ({"val_fraction": 1.5}, "val_fraction=1.5: must lie between 0 and 1"),
        ({"files": {"test": "a.json"}}, "files='test': no such choice"),
        ({"format": "voc"}, r"format=voc: .* holds nothing of this format"),
    ):
        with pytest.raises(fcos.ConfigError, match=message):
            fcos.convert(root, tmp_path / "out", **arguments)
    fcos.convert(root, tmp_path / "out")
    with pytest.raises(
        fcos.ConfigError, match=r"train\.json.*: would be overwritten; give overwrite, or another output"
    ):
        fcos.convert(root, tmp_path / "out")
