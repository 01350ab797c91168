"""A training that goes on, by choice, from a checkpoint of another schedule: checked before anything is trained."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from fcos.config.parse import flatten
from fcos.config.run import Config
from fcos.errors import ConfigError
from fcos.storage.checkpoint_folder import CheckpointError, CheckpointReadError, digest, steps_in, verify
from fcos.storage.run_folder import CHECKPOINTS, FORKS, SUMMARY
from fcos.storage.store_conventions import RUN_ONLY
from fcos.storage.summary_file import read_finished_run
from orchestration.experiment.identity import EVALUATION_ONLY, RATES_ONLY, without

if TYPE_CHECKING:
    from fcos.training.checkpoint import Checkpoint

KEY = "extend"
# Keys in which a training may differ from the one that it goes on from.
FREE = (
    *RUN_ONLY,
    *EVALUATION_ONLY,
    *RATES_ONLY,
    "schedule.lr",
    "schedule.lr_per_16_images",
    "schedule.eval_every",
)


class MissingCheckpointError(ConfigError):
    """The checkpoint that trainings go on from is not there, or not whole."""


@dataclass(frozen=True)
class Extension:
    """A checkpoint that trainings go on from whatever schedule it was trained by."""

    path: Path
    step: int
    # SHA-256 of its manifest, which covers all its files.
    sha256: str
    # Of the data that it was trained on; the digest is empty where it is not known.
    classes: tuple[str, ...] = ()
    data_digest: str = ""
    # What the command named: the checkpoint, the folder of its training, or that of a command.
    given: str = ""
    # Whether this command has loaded it, so that it is whole; no part of a stored plan.
    is_loaded: Annotated[bool, Field(exclude=True)] = field(default=False, compare=False)

    def check_data(self, classes: Sequence[str] | None, digest: str) -> None:
        """Raise ConfigError for other data than those that it was trained on. classes: None where not known yet."""
        if classes is not None and tuple(classes) != self.classes:
            theirs, ours = ", ".join(self.classes), ", ".join(classes)
            raise ConfigError(f"{KEY}={self.path}: was trained with the classes {theirs}; those of the data are {ours}")
        if self.data_digest and digest != self.data_digest:
            raise ConfigError(
                f"{KEY}={self.path}: was trained on other data (digest {self.data_digest[:12]}, not {digest[:12]}); "
                f"model.weights={self.path} takes the weights alone"
            )

    @property
    def run_folder(self) -> Path:
        """The folder of the training that it belongs to; the checkpoint's own where it lies by itself."""
        return self.path.parent.parent if self.path.parent.name in (CHECKPOINTS, FORKS) else self.path

    @property
    def note(self) -> str:
        """The remark that a report makes on a training that went on from here."""
        return (
            f"{KEY}: began with weights and optimizer of step {self.step} of {self.path}, which was trained by another "
            "schedule: its result is that of no single schedule"
        )


def verify_extension(extension: Extension) -> bool:
    """Return whether the checkpoint of a stored plan is still whole where it was, by the hashes of all its files.

    Raises CheckpointReadError where that is not known.
    """
    try:
        verify(extension.path)
        return digest(extension.path) == extension.sha256
    except CheckpointReadError:
        raise
    except CheckpointError:
        return False


def find_extension(path: str, configs: Iterable[Config]) -> Extension:
    """Return the checkpoint that trainings of some configs go on from.

    `path` is a checkpoint, the folder of its training, or that of a command with one training. Raises ConfigError where
    there is none (MissingCheckpointError), and for a config that differs in more than its schedule.
    """
    # With torch, which takes seconds that no other plan needs.
    from fcos.weights.find import find_checkpoint

    trainings = [folder.parent for folder in Path(path).glob(f"trials/*/{CHECKPOINTS}")]
    try:
        found = find_checkpoint(trainings[0] if len(trainings) == 1 else Path(path))
    except CheckpointError as error:
        raise MissingCheckpointError(f"{KEY}={path}: {error}{_why_missing(Path(path))}") from None
    try:
        for config in configs:
            _check(found, config)
        sha256 = digest(found.path)
    except CheckpointError as error:
        raise ConfigError(f"{KEY}={path}: {error}") from None
    extension = Extension(found.path.resolve(), found.step, sha256, found.classes, given=path, is_loaded=True)
    return replace(extension, data_digest=_data_digest_of(extension.run_folder))


def _why_missing(path: Path) -> str:
    """Return what is known of checkpoints that finished trainings do not have any more, and the way out."""
    own = path.parent.parent if path.parent.name in (CHECKPOINTS, FORKS) else path
    ended = [folder for folder in (own, *own.glob("trials/*")) if (folder / SUMMARY).is_file()]
    held: set[int] = set()
    with suppress(CheckpointError):
        held.update(step for folder in ended for step in steps_in(folder / CHECKPOINTS))
    if not ended or (held and len(ended) > 1):
        return ""
    has = f"has those of the steps {', '.join(map(str, sorted(held)))} alone" if held else "has no checkpoint any more"
    return (
        f"; its training is finished and {has} (schedule.keep_checkpoints and keep.trained remove others); give "
        "another checkpoint, or train that one again under another name=..."
    )


def _data_digest_of(folder: Path) -> str:
    """Return the digest of the data of a finished training; empty where it is not known."""
    try:
        return read_finished_run(folder).summary.data_digest
    except (OSError, ValueError):
        return ""


def _check(found: "Checkpoint", config: Config) -> None:
    """Raise ConfigError for a config that cannot go on from a checkpoint, and CheckpointError for a missing average."""
    if not found.state:
        raise ConfigError(f"{KEY}={found.path}: holds weights alone; model.weights={found.path} begins from these")
    changed = _changed(found.config, config.model_dump(mode="json"))
    if changed:
        listed = "; ".join(f"{key}={theirs}, not {ours}" for key, theirs, ours in changed)
        raise ConfigError(
            f"{KEY}={found.path}: was trained with {listed}; only the schedule of the learning rate may differ; "
            f"model.weights={found.path} takes the weights alone"
        )
    if found.step >= config.schedule.steps:
        raise ConfigError(
            f"{KEY}={found.path}: is of step {found.step}, and schedule.steps={config.schedule.steps} ends there or "
            "before; give more steps"
        )
    found.weights_of(config.schedule.ema)


def _changed(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return key, their value and ours for each key that must be the same and is not."""
    there, here = (flatten(without(values, FREE)) for values in (theirs, ours))
    return [(key, there[key], here[key]) for key in here if key in there and there[key] != here[key]]
