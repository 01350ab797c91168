"""ONNX files give the detections of the detector that they were made of, for any batch and any size."""

from pathlib import Path
from typing import Any

import pytest
import torch

from fcos.config.presets import load_presets
from fcos.errors import ConfigError
from fcos.exported.file_detector import FileDetector, load_file_detector
from fcos.exported.write_file import ExportOptions, export_detector
from fcos.inference import Trained, build_detect
from fcos.structures import Batch
from tests.helpers.detections.exported_files import (
    Export,
    MakeTrained,
    assert_same_detections,
    metadata_of,
    noise_batch,
)

# Of other numbers of rows and columns than the trace, and one with a single one on the coarsest level.
BATCHES = (noise_batch((160, 250), (130, 256)), noise_batch((64, 96)), noise_batch((300, 200), (290, 180), (256, 192)))


def assert_parity(trained: Trained, export: Export, batches: tuple[Batch, ...] = BATCHES, **options: Any) -> None:
    file = export(trained, **options)
    detect = build_detect(trained)
    for batch in batches:
        assert_same_detections(file.detect(batch), detect(batch))


PRESETS = (
    *("official_v1", "adelaidet", "detectron2", "fcos_plus"),
    *("mmdetection", "official_improved", "rosinality", "torchvision"),
)


@pytest.mark.slow(minutes=1)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_file_of_a_preset_detects_what_the_preset_does(
    preset: str, make_trained: MakeTrained, export: Export
) -> None:
    assert_parity(make_trained(preset), export)


def test_every_preset_is_tried() -> None:
    assert set(PRESETS) == set(load_presets())


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"model.head.norm": "bn_per_level"}, id="a batch norm per level",
                     marks=pytest.mark.slow(minutes=0.5)),
        pytest.param({"model.head.norm": "bn", "model.head.towers": "shared"}, id="batch norm, one tower",
                     marks=pytest.mark.slow(minutes=0.5)),
        pytest.param({"model.head.across_levels": "separate", "model.head.norm": "none"}, id="a head per level",
                     marks=pytest.mark.slow(minutes=0.5)),
        pytest.param({"model.fpn.kind": "bifpn", "model.fpn.cells": 1, "model.fpn.norm": "bn"}, id="bifpn",
                     marks=pytest.mark.slow(minutes=0.5)),
        pytest.param({"model.targets_per_location": 2}, id="two targets", marks=pytest.mark.slow(minutes=0.5)),
        pytest.param(
            {"model.anchors_per_location": 9, "model.head.regression": "deltas", "model.assignment.kind": "retinanet"},
            id="nine anchors", marks=pytest.mark.slow(minutes=0.5),
        ),
        pytest.param({"model.head.quality": "none", "model.postprocess.quality": "from_regression"}, id="no quality",
                     marks=pytest.mark.slow(minutes=0.5)),
        pytest.param({"model.postprocess.suppression": "peaks"}, id="peaks", marks=pytest.mark.slow(minutes=0.5)),
        pytest.param({"schedule.channels_last": True, "model.backbone.norm": "frozen_bn"}, id="channels last",
                     marks=pytest.mark.slow(minutes=0.5)),
        pytest.param({"model.backbone.name": "timm/tf_efficientnet_lite0", "model.backbone.norm": "frozen_bn",
                      "model.backbone.weights": "installed"},
                     id="timm", marks=pytest.mark.slow(minutes=0.5)),
    ],
)  # fmt: skip
def test_a_file_of_another_detector_detects_what_it_does(
    changes: dict[str, Any], make_trained: MakeTrained, export: Export
) -> None:
    assert_parity(make_trained(**changes), export)


@pytest.mark.slow(minutes=0.5)
def test_deformable_convolutions_are_operators_of_the_standard(make_trained: MakeTrained, export: Export) -> None:
    trained = make_trained(**{"model.backbone.deformable_stages": 2})
    with torch.no_grad():
        for name, parameter in trained.detector.named_parameters():
            if ".offsets." in name:
                parameter.normal_(std=0.3)
    assert_parity(trained, export)
    with pytest.raises(ConfigError, match=r"--opset 18: .* needs the operator DeformConv"):
        export(trained, opset=18)


def test_head_outputs_are_post_processed_outside(make_trained: MakeTrained, export: Export) -> None:
    trained = make_trained("torchvision")
    file = export(trained, raw=True)
    assert not file.record.detects
    for batch in BATCHES:
        assert_same_detections(file.detect(batch), build_detect(trained)(batch))
    strict = load_file_detector(file.opened.path, {"model.postprocess.score_threshold": 0.9999})
    for found in strict.detect(BATCHES[0]):
        assert found.boxes.shape == (0, 4) and found.scores.shape == (0,) and found.labels.shape == (0,)


@pytest.mark.slow(minutes=0.5)
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"model.targets_per_location": 2}, id="two targets"),
        pytest.param(
            {"model.anchors_per_location": 9, "model.head.regression": "deltas", "model.assignment.kind": "retinanet"},
            id="nine anchors",
        ),
        pytest.param({"model.head.quality": "none", "model.postprocess.quality": "from_regression"}, id="no quality"),
    ],
)
def test_head_outputs_of_another_detector_are_what_is_expected_of_them(
    changes: dict[str, Any], make_trained: MakeTrained, export: Export
) -> None:
    assert_parity(make_trained(**changes), export, raw=True)


@pytest.mark.slow(minutes=0.5)
def test_an_image_may_have_no_detection(make_trained: MakeTrained, export: Export) -> None:
    trained = make_trained()
    with torch.no_grad():
        for name, parameter in trained.detector.named_parameters():
            if name.endswith("classification.bias"):
                parameter.fill_(-1e4)
    file = export(trained)
    for found in file.detect(BATCHES[0]):
        assert found.boxes.shape == (0, 4) and found.scores.shape == (0,) and found.labels.shape == (0,)


def test_one_file_is_complete_and_detects_what_the_detector_does_in_a_batch_and_alone(
    make_trained: MakeTrained, export: Export, tmp_path: Path
) -> None:
    trained = make_trained()
    (tmp_path / "summary.json").write_text(
        '{"identity": "ab12", "summary": {"step": 2, "seconds": 1, "metrics": {}, "data_digest": "cd34"}}'
    )
    file = export(trained)
    check_metadata(file, trained)
    # Other detectors than this one are compared with their files among the slow tests: an export takes seconds.
    detect = build_detect(trained)
    for batch in BATCHES:
        assert_same_detections(file.detect(batch), detect(batch))
    sizes = ((120, 96), (128, 90))
    whole = noise_batch(*sizes)
    alone = []
    for row, size in enumerate(sizes):
        batch = noise_batch(size)
        batch.pixels[0, :, : size[0], : size[1]] = whole.pixels[row, :, : size[0], : size[1]]
        alone += file.detect(batch)
    assert_same_detections(file.detect(whole), alone)


def check_metadata(file: FileDetector, trained: Trained) -> None:
    """What a program elsewhere needs is there, and no path of this machine in the graph."""
    record = file.record
    assert record.classes == trained.classes and record.step == 7 and record.detects
    assert record.pixel_mean == trained.config.model.pixel_mean and record.strides == (8, 16, 32, 64)
    assert (record.identity, record.data_digest) == ("ab12", "cd34") and len(record.weights_sha256) == 64
    model = metadata_of(file.opened.path.read_bytes())
    assert [each.name for each in model.graph.input] == ["pixels", "sizes", "original_sizes"]
    assert [each.name for each in model.graph.output] == ["boxes", "scores", "labels", "counts"]
    axes = [axis.dim_param or axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim]
    assert axes == ["batch", 3, "height", "width"]
    # Neither of our source files nor of torch's.
    assert b".py" not in model.graph.SerializeToString() and not model.functions


@pytest.mark.slow(minutes=0.5)
def test_two_exports_of_one_detector_are_equal_byte_by_byte(make_trained: MakeTrained, tmp_path: Path) -> None:
    trained = make_trained()
    for name in ("a.onnx", "b.onnx"):
        export_detector(trained, tmp_path / name, ExportOptions("onnx", detects=False), bytes_per_pixel=1.0)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@pytest.mark.parametrize("opset", [17, 24])
def test_an_opset_that_torch_does_not_write_is_refused(opset: int, make_trained: MakeTrained, export: Export) -> None:
    with pytest.raises(ConfigError, match=rf"--opset {opset}: must lie in 18\.\.23"):
        export(make_trained(), opset=opset)


@pytest.mark.slow(minutes=0.5)
@pytest.mark.parametrize("opset", [18, 19, 21, 22, 23])
def test_every_opset_gives_the_same(opset: int, make_trained: MakeTrained, export: Export) -> None:
    assert_parity(make_trained(), export, opset=opset)


def test_an_exported_program_of_torch_gives_the_head_outputs(make_trained: MakeTrained, tmp_path: Path) -> None:
    trained = make_trained()
    path = tmp_path / "detector.pt2"
    record = export_detector(trained, path, ExportOptions("pt2"), bytes_per_pixel=1.0)
    extra = {"fcos_lab.json": ""}
    # Loading executes what such a file holds; this one was written above.
    program = torch.export.load(path, extra_files=extra)
    network = program.module(check_guards=False)
    assert not record.detects and type(record).model_validate_json(extra["fcos_lab.json"]) == record
    for batch in BATCHES:
        with torch.no_grad():
            found, expected = network(batch.pixels, batch.sizes), trained.detector(batch.pixels, batch.sizes)
        for one, other in zip(found, (*expected.logits, expected.ltrb, expected.quality), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)
    # The second canvas has a single row of locations on the coarsest level, which the trace holds for a constant.
    with pytest.raises(AssertionError, match="Guard failed"):
        program.module()(BATCHES[1].pixels, BATCHES[1].sizes)
