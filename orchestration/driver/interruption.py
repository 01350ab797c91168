"""What ends Ray Tune as a whole although no training did anything wrong: want of disk space or of memory."""

import tempfile
import traceback
from contextlib import suppress
from pathlib import Path

from fcos.errors import ConfigError
from orchestration.driver.tune_run import RAY_LOG
from orchestration.trial.bucket_folder import BUCKET
from orchestration.trial.failures import is_disk_full, is_killed_by_ray, is_no_space, is_out_of_memory, no_space_message

MEMORY_SHORT = "the machine had no more memory, and Ray ended the trainings"
OWN_MEMORY_SHORT = "the command itself got no more memory, which ended the trainings"
FEWER = "free some, or train fewer side by side (cluster.concurrent)"


def find_interruption(error: Exception, folder: Path) -> str | None:
    """Return why Tune itself ended although no training did anything wrong, None for any other error.

    The error, with its traceback, is added to the log of Ray in the sweep's folder. Raises ConfigError where that
    folder was removed.
    """
    if not folder.exists():
        hint = "what was trained there is gone, and the same command begins anew"
        raise ConfigError(f"output: {folder} was removed while its trainings ran; {hint}") from error
    if is_no_space(error) or is_disk_full(folder):
        # Too full for Tune's own records.
        reason = no_space_message(error, [folder, Path(tempfile.gettempdir())])
    elif is_killed_by_ray(error):
        # A process that the memory monitor ended is a failure to Tune, unless Ray rules out that another attempt helps.
        reason = MEMORY_SHORT
    elif is_out_of_memory(error):
        reason = OWN_MEMORY_SHORT
    else:
        return None
    with suppress(OSError), (folder / RAY_LOG).open("a") as log:
        traceback.print_exception(error, file=log)
    return reason


def advise(reason: str) -> str:
    """Return what helps trainings that were stopped for a reason to go on."""
    if reason in (MEMORY_SHORT, OWN_MEMORY_SHORT):
        return FEWER
    if BUCKET in reason:
        return "see that the bucket takes objects, with credentials that are valid"
    return "raise the budget" if reason.startswith("budget.") else "make space"
