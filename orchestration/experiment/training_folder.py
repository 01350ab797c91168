"""Names in a sweep's folder. Processes that train import this before the code is compared with the plan's."""

from typing import Final

# Folder of the trainings' folders.
TRIALS: Final = "trials"
# How far the newest command is; its form is in orchestration/monitor/record.py.
STATUS: Final = "status.json"


def short_identity(identity: str) -> str:
    """Return the part of an identity that names a training's folder."""
    return identity[:16]
