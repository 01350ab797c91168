"""Configs and plans of command lines; configs of the same words are composed once by a process."""

from functools import cache
from pathlib import Path

from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.config.schema import LabConfig
from orchestration.planning.make_plan import make_plan
from orchestration.planning.plan import Plan


@cache
def composed(*words: str) -> LabConfig:
    """Return the config of a command line, which is frozen and which other tests get too."""
    return compose(check_overrides(words))


def composed_into(folder: Path, *words: str) -> LabConfig:
    """Return the config of a command line with a folder as its output."""
    return composed(*words).model_copy(update={"output": str(folder)})


def plan_of(folder: Path, *words: str, digest: str = "d", notes: tuple[str, ...] = ()) -> Plan:
    """Return the plan of an experiment's command line; its data, which are not read, have a digest and notes."""
    return make_plan(composed_into(folder, *words), lambda config: (digest, notes))
