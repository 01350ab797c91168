"""fcos.export: a detector as a file for other runtimes."""

from pathlib import Path

from fcos.api.load import Detector, check_detector
from fcos.api.user_errors import raises_config_error
from fcos.errors import ConfigError
from fcos.exported.onnx_file import DEFAULT_OPSET
from fcos.exported.write_file import ExportOptions, FileFormat, export_detector
from fcos.inference import Trained
from fcos.prediction.memory import bytes_per_pixel

_FORMATS: dict[str, FileFormat] = {".onnx": "onnx", ".pt2": "pt2"}


@raises_config_error
def export(detector: Detector, path: str | Path, *, detects: bool = True, opset: int = DEFAULT_OPSET) -> Path:
    """Write a detector as an ONNX file or a program of torch.export, by the suffix .onnx or .pt2; returns the path.

    detects: an ONNX file gives detections; False, and .pt2 files always, give head outputs (docs/export.md).
    Raises ConfigError for another suffix and for what the format cannot hold.

        >>> fcos.export(detector, folder / "detector.onnx").name
        'detector.onnx'
    """
    check_detector(detector)
    if not isinstance(detector, Trained):
        raise ConfigError(f"{detector.opened.path}: is an exported file already; load the run's folder")
    target = Path(path)
    if target.suffix not in _FORMATS:
        raise ConfigError(f"path={target}: must end in .onnx or .pt2, which choose the format")
    if target.is_dir():
        raise ConfigError(f"path={target}: is a folder; give the name of a file in it")
    options = ExportOptions(_FORMATS[target.suffix], detects=detects, opset=opset)
    export_detector(detector, target, options, bytes_per_pixel(detector.detector))
    return target
