"""Where the weights of a checkpoint come from: identity and data digest of its run, hash of the checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fcos.model.local_weights import file_sha256
from fcos.storage import checkpoint_folder
from fcos.storage.run_folder import CHECKPOINTS, FORKS, SUMMARY
from fcos.storage.summary_file import read_finished_run

# Longest summary that is read, in bytes.
MAX_BYTES: Final = 16_000_000


@dataclass(frozen=True)
class Origin:
    """Identity of a training and digest of its data; empty where no finished run's folder holds the checkpoint."""

    identity: str = ""
    data_digest: str = ""
    weights_sha256: str = ""


def find_origin(path: Path) -> Origin:
    """Return the origin of a checkpoint's folder, or of a file of published weights.

    Raises CheckpointError and ConfigError where the checkpoint or the file cannot be read.
    """
    if path.is_file():
        return Origin(weights_sha256=file_sha256(path))
    sha256 = checkpoint_folder.digest(path)
    folder = path.resolve().parent
    # A run's folder has its checkpoints below it; a folder that was copied alone has no summary beside it.
    run = folder.parent if folder.name in (CHECKPOINTS, FORKS) else folder
    try:
        if (run / SUMMARY).stat().st_size > MAX_BYTES:
            return Origin(weights_sha256=sha256)
        finished = read_finished_run(run)
        return Origin(finished.identity, finished.summary.data_digest, sha256)
    except (OSError, ValueError):
        return Origin(weights_sha256=sha256)
