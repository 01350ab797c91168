"""The packages of the extra export, which are imported where an ONNX file is written or run."""

from importlib.util import find_spec
from typing import Final

from fcos.errors import ConfigError

# To import: to write a file, and to run one.
WRITING: Final = ("onnx", "onnxscript")
RUNNING: Final = ("onnx", "onnxruntime")


def require_onnx(what: str) -> None:
    """Raise ConfigError where a package that writes ONNX files is not installed; `what` needs it."""
    _require(WRITING, what)


def require_onnxruntime(what: str) -> None:
    """Raise ConfigError where a package that runs ONNX files is not installed; `what` needs it."""
    _require(RUNNING, what)


def _require(packages: tuple[str, ...], what: str) -> None:
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise ConfigError(f"{what}: needs {' and '.join(missing)}: pip install 'fcos-lab[export]'")
