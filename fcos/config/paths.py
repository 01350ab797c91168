"""Paths as values of settings: absolute, so that they are the same for every process and machine."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from fcos.storage.bucket.address import is_address

# Suffixes by which a value of a weights setting is a file and not a name.
WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".tar")


def absolute(path: str) -> str:
    """Make a path absolute; raises ValueError for ~ without a home folder."""
    try:
        return str(Path(path).expanduser().absolute()) if path else path
    except RuntimeError:
        raise ValueError("this user has no home folder for ~; write the whole path") from None


def is_weights_file(weights: str) -> bool:
    """Return whether a value names a file of weights rather than a published set."""
    return weights.startswith("~") or os.sep in weights or "/" in weights or weights.endswith(WEIGHT_SUFFIXES)


def _absolute_if_file(weights: str) -> str:
    return absolute(weights) if is_weights_file(weights) else weights


def _absolute_unless_address(text: str) -> str:
    return text.rstrip("/") if is_address(text) else absolute(text)


AbsolutePath = Annotated[str, AfterValidator(absolute)]
# A folder, which is made absolute, or the address of one in a bucket.
FolderOrAddress = Annotated[str, AfterValidator(_absolute_unless_address)]
# A name, or the path of a file, which is made absolute.
WeightsName = Annotated[str, AfterValidator(_absolute_if_file)]
