"""Find the checkpoint at a path: a checkpoint's folder, a run's folder, or a published weights file."""

from pathlib import Path

from fcos.errors import ConfigError
from fcos.model.weights_file import some
from fcos.storage import checkpoint_folder
from fcos.storage.checkpoint_folder import CheckpointError
from fcos.training import checkpoint
from fcos.training.checkpoint import Checkpoint
from fcos.weights.published import load_published


def find_checkpoint(path: Path, published: str | None = None) -> Checkpoint:
    """Return the checkpoint at a path.

    The path is a checkpoint's folder, a run's folder (its newest intact checkpoint), or a published weights file.
    Raises CheckpointError where there is none, and ConfigError for a `published` model that does not match.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: no such folder or file")
    if path.is_file():
        return load_published(path, published)
    if published is not None:
        raise ConfigError(
            f"--model {published}: is for a weights file, and {path} is none; a checkpoint has its own config"
        )
    if (path / checkpoint_folder.MANIFEST).is_file():
        return checkpoint.load(path)
    for folder in (path, path / "checkpoints"):
        latest, problems = checkpoint.latest(folder)
        if latest is not None:
            return latest
        if problems:
            raise CheckpointError("; ".join(problems))
    trainings = sorted(str(folder.parent) for folder in path.glob("trials/*/checkpoints"))
    hint = f"; name one of its trainings: {some(tuple(trainings))}" if trainings else ""
    raise CheckpointError(
        f"{path}: holds no checkpoint (a folder with {checkpoint_folder.MANIFEST}), nor do its checkpoints{hint}"
    )
