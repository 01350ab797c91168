"""fcos.load: a trained detector from a run's folder, a checkpoint, published weights or an exported file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import torch

from fcos.api.user_errors import check_choice, check_type, raises_config_error
from fcos.device import pick_device
from fcos.errors import ConfigError
from fcos.exported.file_detector import FileDetector, load_file_detector
from fcos.inference import Trained, load_trained
from fcos.storage.bucket.address import is_address

# Both have `config`, `classes` and `device`; a Trained has the network as `detector` and its `step`.
Detector: TypeAlias = Trained | FileDetector
Device: TypeAlias = Literal["auto", "cpu", "cuda"]
_EXPORTED = (".onnx", ".pt2")


@raises_config_error
def load(
    path: str | Path,
    *,
    changes: Mapping[str, Any] | None = None,
    device: Device = "auto",
    published: str | None = None,
) -> Detector:
    """Load a trained detector.

    path: a run's folder (its newest checkpoint), a checkpoint's folder, a .pth file of published weights, or an .onnx
    file that `export` wrote; the first three may lie in a bucket (s3://...). changes: settings of it by their dotted
    keys, such as data.root. published: the model that a .pth file holds, where its content leaves that open.
    Raises ConfigError for what is not there, is damaged or does not fit.

        >>> detector = fcos.load(folder, changes={"model.postprocess.nms_threshold": 0.5})
        >>> detector.classes
        ('disc', 'square', 'triangle', 'ring', 'cross')
        >>> fcos.load("nowhere")
        Traceback (most recent call last):
        fcos.errors.ConfigError: nowhere: no such folder or file
    """
    check_choice("device", device, get_args(Device))
    check_type("path", path, str | Path, "give a folder or a file")
    check_type("changes", changes or {}, Mapping, 'give a mapping, such as {"data.root": "/data/coco"}')
    given = dict(changes or {})
    local = _local(path)
    if local.suffix in _EXPORTED and not local.is_dir():
        if published is not None:
            raise ConfigError(f"published={published}: is for a file of published weights, not for {path}")
        return load_file_detector(local, given, device=device, threads=torch.get_num_threads())
    return load_trained(local, pick_device(device), given, published)


def _local(path: str | Path) -> Path:
    """Return a path on this machine; what an address names is copied to the cache."""
    if is_address(str(path)):
        from fcos.storage.bucket.local_copy import copy_of

        return copy_of(str(path))[0]
    return Path(path)


def check_detector(detector: object) -> None:
    """Raise ConfigError for anything but a loaded detector."""
    check_type("detector", detector, Trained | FileDetector, "give what fcos.load returns, or a Training's detector")
