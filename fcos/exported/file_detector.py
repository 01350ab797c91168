"""Exported files as detectors: detections of batches and metrics of the validation images, by onnxruntime."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from fcos.assignment.build import build_locate
from fcos.config.model import ModelConfig
from fcos.config.model_parts import PostprocessConfig
from fcos.config.run import Config
from fcos.errors import ConfigError
from fcos.evaluation.analyses import analyse
from fcos.evaluation.coco import coco_metrics, gather_detections
from fcos.evaluation.detect import Inference, detect_batch
from fcos.exported.graph.networks import (
    DETECTIONS,
    LTRB,
    ORIGINAL_SIZES,
    PIXELS,
    QUALITY,
    SIZES,
    predictions_per_location,
)
from fcos.exported.onnx_session import OnnxSession, as_array, open_onnx
from fcos.exported.record import ROOT, VALIDATION, find_unknown_paths, without_paths
from fcos.inference import read_validation, with_changes
from fcos.postprocess.decode import Postprocess
from fcos.structures import Batch, Detections, HeadOutputs

_log = logging.getLogger(__name__)
# Keys that may be changed of a file with head outputs, and of one with detections.
CHANGEABLE: Final[Mapping[bool, tuple[str, ...]]] = {False: ("data.", "model.postprocess."), True: ("data.",)}
# Analyses of the detector itself or of its locations, which a file does not give.
OF_THE_DETECTOR: Final = ("cost", "ambiguous")
ANALYSES: Final = "model.postprocess.analyses"
# Outputs of int64; all others are of float32.
INTEGERS: Final = ("labels", "counts")
# Of an output; None is any length.
Shape: TypeAlias = tuple[int | None, ...]


class FileNetwork(nn.Module):
    """Head outputs of a file in place of a detector's; `run` returns the file's outputs by name."""

    def __init__(self, run: Callable[[Tensor, Tensor], Mapping[str, Tensor]], config: ModelConfig) -> None:
        super().__init__()
        self._run = run
        self._strides = config.strides
        self.logits = tuple(f"logits_p{level}" for level in config.levels)
        self._repeats = predictions_per_location(config)

    def forward(self, pixels: Tensor, sizes: Tensor) -> HeadOutputs:
        outputs = self._run(pixels, sizes)
        return HeadOutputs(
            logits=tuple(outputs[name] for name in self.logits),
            ltrb=outputs[LTRB],
            quality=outputs.get(QUALITY),
            shapes=self.shapes(pixels),
        )

    def shapes(self, pixels: Tensor) -> tuple[tuple[int, int], ...]:
        """Return the (rows, columns) of each level, of which their outputs have the product."""
        height, width = pixels.shape[-2:]
        return tuple((-(-height // stride), -(-width // stride) * self._repeats) for stride in self._strides)


class FileDetector:
    """An open ONNX file with the configuration that it records, changed where that is possible."""

    def __init__(self, opened: OnnxSession, changes: Mapping[str, Any]) -> None:
        record = opened.record
        _check_changes(opened.path, changes, detects=record.detects)
        self.opened = opened
        self.record = record
        self.sha256 = opened.sha256
        values = _values_of(opened)
        # Keys whose paths are not known: none is taken from a file, which may come from anywhere.
        self.unknown = tuple(key for key in find_unknown_paths(values) if key not in changes)
        self.config = _config_of(opened, values, changes)
        _check_postprocess(opened.path, self.config.model.postprocess, changes)
        self.classes = record.classes
        # Of its inputs and outputs.
        self.device = torch.device("cpu")
        # Oracles and some analyses need annotated boxes.
        postprocess = self.config.model.postprocess.model_copy(update={"analyses": (), "oracle": "none"})
        self._inference = Inference(
            {"": Postprocess(postprocess, self.config.model.assignment.corners)},
            build_locate(self.config.model),
            self.device,
            "fp32",
        )
        self._network = FileNetwork(self._run_network, self.config.model).eval()

    @property
    def bytes_per_pixel(self) -> float:
        """Memory that a forward pass takes at least for each pixel of its canvas."""
        return self.record.bytes_per_pixel

    def detect(self, batch: Batch) -> list[Detections]:
        """Return the detections of each image of a batch, best first, in pixels of the original images.

        Raises ConfigError where the file's outputs are not what its metadata let expect.
        """
        if not self.record.detects:
            return detect_batch(self._network, batch, self._inference)[""]
        images = len(batch.image_ids)
        expected: tuple[Shape, ...] = ((images, None, 4), (images, None), (images, None), (images,))
        outputs = self._run(
            {PIXELS: batch.pixels, SIZES: batch.sizes, ORIGINAL_SIZES: batch.original_sizes},
            dict(zip(DETECTIONS, expected, strict=True)),
        )
        boxes, scores, labels, counts = (outputs[name] for name in DETECTIONS)
        if not boxes.shape[1] == scores.shape[1] == labels.shape[1]:
            raise ConfigError(f"{self.opened.path}: gives boxes, scores and labels of different numbers")
        self._check_values(labels, counts)
        numbers = counts.tolist()
        return [
            Detections(boxes[row, :number], scores[row, :number], labels[row, :number])
            for row, number in enumerate(numbers)
        ]

    def _check_values(self, labels: Tensor, counts: Tensor) -> None:
        slots, classes = labels.shape[1], len(self.classes)
        if not ((counts >= 0) & (counts <= slots)).all():
            raise ConfigError(f"{self.opened.path}: its output counts must lie in 0..{slots}, its slots")
        found = labels[torch.arange(slots) < counts.unsqueeze(1)]
        if not ((found >= 0) & (found < classes)).all():
            raise ConfigError(
                f"{self.opened.path}: its output labels must lie in 0..{classes - 1}, the classes of its metadata"
            )

    def _run_network(self, pixels: Tensor, sizes: Tensor) -> Mapping[str, Tensor]:
        images, classes = len(pixels), len(self.classes)
        counts = [rows * columns for rows, columns in self._network.shapes(pixels)]
        expected: dict[str, Shape] = {
            name: (images, count, classes) for name, count in zip(self._network.logits, counts, strict=True)
        }
        expected[LTRB] = (images, sum(counts), 4)
        if self.config.model.head.quality != "none":
            expected[QUALITY] = (images, sum(counts))
        return self._run({PIXELS: pixels, SIZES: sizes}, expected)

    def _run(self, inputs: Mapping[str, Tensor], expected: Mapping[str, Shape]) -> Mapping[str, Tensor]:
        """Return the expected outputs; raises ConfigError where one is missing or is something else."""
        found = self.opened.run({name: as_array(value) for name, value in inputs.items()})
        arrays = dict(zip(self.opened.outputs, found, strict=True))
        path = self.opened.path
        if missing := [name for name in expected if name not in arrays]:
            raise ConfigError(f"{path}: has no output {', '.join(missing)}; export the detector again")
        for name, shape in expected.items():
            _check_output(path, name, arrays[name], shape)
        return {name: torch.from_numpy(arrays[name]) for name in expected}


def load_file_detector(
    path: Path, changes: Mapping[str, Any], *, device: str = "cpu", threads: int = 0
) -> FileDetector:
    """Open an exported file, with some settings changed (dotted key -> value).

    Raises ConfigError for changes that the file cannot follow, and as `open_onnx`.
    """
    if path.suffix == ".pt2":
        raise ConfigError(
            f"{path}: torch loads such a file by executing what it holds, so it is not opened here; give the .onnx "
            "file or the run's folder"
        )
    return FileDetector(open_onnx(path, device=device, threads=threads), changes)


def evaluate_file(
    detector: FileDetector, *, batch_size: int, progress: Callable[[int, int], None] | None = None
) -> dict[str, float]:
    """Compute the metrics of the validation images of the configured data set, as `fcos.inference.evaluate` does.

    Raises ConfigError for an oracle and where it is not known where the data are, and CheckpointError where their
    classes are others.
    """
    config = detector.config.model.postprocess
    if config.oracle != "none":
        raise ConfigError(
            f"model.postprocess.oracle={config.oracle}: needs the detector itself; evaluate the run's folder"
        )
    if missing := [key for key in (ROOT, *VALIDATION) if key in detector.unknown]:
        given = " ".join(f"--set {key}=..." for key in missing)
        raise ConfigError(f"{detector.opened.path}: does not say where its data are on this machine; give {given}")
    names = [name for name in config.analyses if name not in OF_THE_DETECTOR]
    if left_out := [name for name in config.analyses if name in OF_THE_DETECTOR]:
        _log.warning("%s: without the analyses of the detector itself: %s", detector.opened.path, ", ".join(left_out))
    data, batches = read_validation(detector, batch_size=batch_size)
    found: dict[int, Detections] = {}
    for batch in batches:
        found.update(zip(batch.image_ids, detector.detect(batch), strict=True))
        if progress is not None:
            progress(len(found), len(data.val.annotations))
    gathered = gather_detections(found)
    return coco_metrics(data.val.annotations, gathered) | analyse(data.val.annotations, gathered, names)


def _check_output(path: Path, name: str, array: Any, shape: Shape) -> None:
    """Raise ConfigError for an output of another type or shape."""
    kind = np.dtype(np.int64 if name in INTEGERS else np.float32)
    if not isinstance(array, np.ndarray) or array.dtype != kind:
        raise ConfigError(f"{path}: its output {name} must be {kind}, and is {getattr(array, 'dtype', 'no array')}")
    wanted = " x ".join("any" if side is None else str(side) for side in shape)
    if len(array.shape) != len(shape) or any(
        side not in (None, length) for side, length in zip(shape, array.shape, strict=True)
    ):
        given = " x ".join(map(str, array.shape)) or "a single number"
        raise ConfigError(f"{path}: its output {name} must be {wanted}, and is {given}")


def _check_postprocess(path: Path, config: PostprocessConfig, changes: Mapping[str, Any]) -> None:
    """Raise ConfigError for post-processing that a file cannot have, and for analyses that a file does not do."""
    if config.tta_scales != (1.0,):
        raise ConfigError(
            f"model.postprocess.tta_scales={list(config.tta_scales)}: scaled canvases are no multiples of "
            f"model.size_divisor, which {path} needs; give --set model.postprocess.tta_scales=[1.0], or the run's "
            "folder"
        )
    of_the_detector = [name for name in config.analyses if name in OF_THE_DETECTOR]
    if of_the_detector and ANALYSES in changes:
        raise ConfigError(
            f"--set {ANALYSES}: {', '.join(of_the_detector)} needs the detector itself, not {path}; evaluate the run's "
            "folder"
        )


def _check_changes(path: Path, changes: Mapping[str, Any], *, detects: bool) -> None:
    for key in changes:
        if not key.startswith(CHANGEABLE[detects]):
            changeable = " and ".join(f"{prefix}*" for prefix in CHANGEABLE[detects])
            hint = (
                "; a file exported with --raw has its post-processing outside" if key.startswith("model.post") else ""
            )
            raise ConfigError(f"--set {key}: is fixed in {path}, of which {changeable} can be changed{hint}")


def _values_of(opened: OnnxSession) -> dict[str, Any]:
    try:
        return without_paths(opened.record.config)
    except RecursionError:
        raise ConfigError(f"{opened.path}: its configuration is nested too deeply; export the detector again") from None


def _config_of(opened: OnnxSession, values: dict[str, Any], changes: Mapping[str, Any]) -> Config:
    try:
        config = with_changes(values, changes)
    except ConfigError as error:
        raise ConfigError(f"{opened.path}: its configuration is refused: {error}") from None
    if config.model.strides != opened.record.strides:
        raise ConfigError(f"{opened.path}: its metadata contradict each other (strides); export the detector again")
    return config
