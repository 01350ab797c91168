"""The checkpoint that trainings go on from by choice; one that is gone is known from the plan of an earlier command."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from fcos.config.run import Config
from fcos.errors import ConfigError
from orchestration.config.schema import LabConfig
from orchestration.experiment.extension import KEY, Extension, MissingCheckpointError, find_extension, verify_extension
from orchestration.experiment.trials import Trial
from orchestration.planning.plan import PLAN, StoredPlan, read_plan


def plan_extension(lab: LabConfig, name: str, configs: Iterable[Config]) -> Extension | None:
    """Return the checkpoint that the trainings of a command go on from; None without extend=...

    Where it has been removed since an earlier command of the same name, that one's plan has its digest: trainings that
    have begun or ended need no more of it. Raises ConfigError for a checkpoint that is not there and not recorded, and
    for a config that cannot go on from it.
    """
    if lab.extend is None:
        return None
    try:
        return find_extension(lab.extend, configs)
    except MissingCheckpointError:
        recorded = next((each for each in _recorded(lab, name) if each.given == lab.extend), None)
        if recorded is None:
            raise
        return recorded


def _recorded(lab: LabConfig, name: str) -> Iterable[Extension]:
    """Yield what the plan of a command's folder records; of a run without a name, the plans of all such, newest first.

    That folder is named after the identity, to which the digest belongs.
    """
    plans = [read_plan(lab.folder / name)] if lab.name or lab.experiment else _plans_of_unnamed_runs(lab.folder)
    for plan in plans:
        if plan is not None and plan.extension is not None:
            yield plan.extension


def _plans_of_unnamed_runs(output: Path) -> Iterable[StoredPlan | None]:
    files = output.glob(f"run-*/{PLAN}")
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        # Another command's, which reports it itself.
        with suppress(ConfigError):
            yield read_plan(file.parent)


def check_is_there(extension: Extension, new: Sequence[Trial]) -> None:
    """Raise ConfigError where trainings are yet to begin from a checkpoint that has been removed or damaged."""
    if new and not (extension.is_loaded or verify_extension(extension)):
        labels = ", ".join(trial.label for trial in new)
        raise ConfigError(
            f"{KEY}={extension.given}: the checkpoint {extension.path} has been removed since an earlier command, or "
            f"is damaged, and {labels} has not begun; bring it back, or give another checkpoint and another name=..."
        )
