"""Configs of command lines; those of the same words are composed once by a process."""

from functools import cache
from pathlib import Path

from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.config.schema import LabConfig


@cache
def composed(*words: str) -> LabConfig:
    """Return the config of a command line, which is frozen and which other tests get too."""
    return compose(check_overrides(words))


def composed_into(folder: Path, *words: str) -> LabConfig:
    """Return the config of a command line with a folder as its output."""
    return composed(*words).model_copy(update={"output": str(folder)})
