"""Exported files as detectors: detections of batches and metrics of the validation images, by onnxruntime."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from fcos.assignment.anchors import anchor_sizes
from fcos.assignment.build import build_locate
from fcos.config.model import ModelConfig
from fcos.config.run import Config
from fcos.errors import ConfigError
from fcos.evaluation.analyses import analyse
from fcos.evaluation.coco import coco_metrics, gather_detections
from fcos.evaluation.detect import Inference, detect_batch
from fcos.export.networks import DETECTIONS, LTRB, ORIGINAL_SIZES, PIXELS, QUALITY, SIZES
from fcos.export.onnx_session import OnnxSession, as_array, open_onnx
from fcos.inference import read_validation, with_changes
from fcos.postprocess.decode import Postprocess
from fcos.structures import Batch, Detections, HeadOutputs

# Keys that may be changed of a file with head outputs, and of one with detections.
CHANGEABLE: Final[Mapping[bool, tuple[str, ...]]] = {False: ("data.", "model.postprocess."), True: ("data.",)}
# Analyses of the detector itself or of its locations, which a file does not give.
OF_THE_DETECTOR: Final = ("cost", "ambiguous")


class FileNetwork(nn.Module):
    """Head outputs of a file in place of a detector's; `run` returns the file's outputs by name."""

    def __init__(self, run: Callable[[Tensor, Tensor], Mapping[str, Tensor]], config: ModelConfig) -> None:
        super().__init__()
        self._run = run
        self._strides = config.strides
        self._logits = tuple(f"logits_p{level}" for level in config.levels)
        anchors = 1 if config.anchors_per_location == 1 else len(anchor_sizes(config.anchors_per_location))
        self._repeats = max(anchors, config.targets_per_location)

    def forward(self, pixels: Tensor, sizes: Tensor) -> HeadOutputs:
        outputs = self._run(pixels, sizes)
        height, width = pixels.shape[-2:]
        return HeadOutputs(
            logits=tuple(outputs[name] for name in self._logits),
            ltrb=outputs[LTRB],
            quality=outputs.get(QUALITY),
            shapes=tuple((-(-height // stride), -(-width // stride) * self._repeats) for stride in self._strides),
        )


class FileDetector:
    """An open ONNX file with the configuration that it records, changed where that is possible."""

    def __init__(self, opened: OnnxSession, changes: Mapping[str, Any]) -> None:
        record = opened.record
        _check_changes(opened.path, changes, detects=record.detects)
        self.opened = opened
        self.record = record
        self.sha256 = opened.sha256
        self.config = _config_of(opened, changes)
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
        inputs = {PIXELS: batch.pixels, SIZES: batch.sizes, ORIGINAL_SIZES: batch.original_sizes}
        outputs = self._run(inputs, DETECTIONS)
        boxes, scores, labels, counts = (outputs[name] for name in DETECTIONS)
        rows, slots = scores.shape
        as_expected = rows == len(batch.image_ids) and bool(((counts >= 0) & (counts <= slots)).all())
        if not as_expected or int(labels.amax()) >= len(self.classes):
            raise ConfigError(f"{self.opened.path}: gives detections of other images or classes than it was asked for")
        numbers = counts.tolist()
        return [
            Detections(boxes[row, :number], scores[row, :number], labels[row, :number])
            for row, number in enumerate(numbers)
        ]

    def _run_network(self, pixels: Tensor, sizes: Tensor) -> Mapping[str, Tensor]:
        return self._run({PIXELS: pixels, SIZES: sizes}, (LTRB,))

    def _run(self, inputs: Mapping[str, Tensor], needed: Sequence[str]) -> Mapping[str, Tensor]:
        arrays = self.opened.run({name: as_array(value) for name, value in inputs.items()})
        outputs = {name: torch.from_numpy(array) for name, array in zip(self.opened.outputs, arrays, strict=True)}
        if missing := [name for name in needed if name not in outputs]:
            raise ConfigError(f"{self.opened.path}: has no output {', '.join(missing)}; export the detector again")
        return outputs


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

    Raises ConfigError for an oracle, and CheckpointError where the classes of the data are others.
    """
    if detector.config.model.postprocess.oracle != "none":
        raise ConfigError(
            f"model.postprocess.oracle={detector.config.model.postprocess.oracle}: needs the detector itself; evaluate "
            "the run's folder"
        )
    data, batches = read_validation(detector, batch_size=batch_size)
    found: dict[int, Detections] = {}
    for batch in batches:
        found.update(zip(batch.image_ids, detector.detect(batch), strict=True))
        if progress is not None:
            progress(len(found), len(data.val.annotations))
    gathered = gather_detections(found)
    names = [name for name in detector.config.model.postprocess.analyses if name not in OF_THE_DETECTOR]
    return coco_metrics(data.val.annotations, gathered) | analyse(data.val.annotations, gathered, names)


def _check_changes(path: Path, changes: Mapping[str, Any], *, detects: bool) -> None:
    for key in changes:
        if not key.startswith(CHANGEABLE[detects]):
            changeable = " and ".join(f"{prefix}*" for prefix in CHANGEABLE[detects])
            hint = (
                "; a file exported with --raw has its post-processing outside" if key.startswith("model.post") else ""
            )
            raise ConfigError(f"--set {key}: is fixed in {path}, of which {changeable} can be changed{hint}")


def _config_of(opened: OnnxSession, changes: Mapping[str, Any]) -> Config:
    try:
        config = with_changes(opened.record.config, changes)
    except ConfigError as error:
        raise ConfigError(f"{opened.path}: its configuration is refused: {error}") from None
    if config.model.strides != opened.record.strides:
        raise ConfigError(f"{opened.path}: its metadata contradict each other (strides); export the detector again")
    return config
