"""Packages that a registered detector needs where it is served, pinned to the versions that are installed here."""

from importlib.metadata import version

# What fcos/ imports to load a detector and to predict; tests/contract/registry/test_model.py compares.
PACKAGES = (
    "faster-coco-eval",
    "filelock",
    "hotcoco",
    "jaxtyping",
    "matplotlib",
    "mlflow",
    "numpy",
    "pandas",
    "pillow",
    "psutil",
    "pycocotools",
    "pydantic",
    "pyyaml",
    "safetensors",
    "scipy",
    "timm",
    "torch",
    "torchvision",
)


def pinned_requirements() -> list[str]:
    """Return name==version of each package; a build such as +cu130 is left to who installs."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in PACKAGES]
