"""Explain why each training of a plan runs or does not, and how it differs from the nearest finished one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from fcos.config.parse import flatten
from fcos.storage.checkpoint_folder import newest_step
from fcos.storage.run_folder import CHECKPOINTS
from fcos.storage.store_conventions import RUN_ONLY, Tag, param_text
from orchestration.experiment.common_steps import common_steps
from orchestration.experiment.identity import EVALUATION_ONLY, RATES_ONLY, without
from orchestration.experiment.prefixes import Trunk
from orchestration.experiment.provenance import Provenance
from orchestration.experiment.training_folder import short_identity
from orchestration.experiment.trials import Trial, changed_keys
from orchestration.experiment.weights import pinned_keys
from orchestration.planning.first_steps.planned_prefixes import held_checkpoints
from orchestration.planning.plan import Plan
from orchestration.planning.reuse import ReusableRuns, ReuseSource, is_done
from orchestration.tracking.history import PastRun
from orchestration.trial.files import read_reused

LINES = 8
# What is compared beside the keys of a configuration, and what stands for a key that one of two has not.
CODE, VERSION, DATA = "code of fcos/", "version of ", "data"
ABSENT = "absent"
_VERSIONS = TypeAdapter(dict[str, str])


@dataclass(frozen=True)
class Reasons:
    """Why a training runs or does not: the reason, then what it follows from."""

    trial: Trial
    texts: Sequence[str]

    def lines(self) -> list[str]:
        """Return a paragraph."""
        first, *rest = self.texts
        return [f"{self.trial.label} ({self.trial.short}): {first}", *(f"    {line}" for line in rest)]


def find_reasons(plan: Plan, reusable: ReusableRuns, *, reuse: bool) -> list[Reasons]:
    """Return the reasons of each training; raises TrackingError where the store stops answering."""
    others = FinishedRuns([] if reusable.history is None else reusable.history.newest(), plan.provenance)
    return [Reasons(trial, _why(plan, trial, reusable, others, reuse)) for trial in plan.trials]


def explain(plan: Plan, reusable: ReusableRuns, *, reuse: bool) -> list[str]:
    """Return a paragraph for each training; raises TrackingError where the store stops answering."""
    return [line for reasons in find_reasons(plan, reusable, reuse=reuse) for line in reasons.lines()]


def _why(plan: Plan, trial: Trial, reusable: ReusableRuns, others: "FinishedRuns", reuse: bool) -> list[str]:
    folder = plan.folder_of(trial)
    if is_done(plan, trial, reuse=reuse):
        taken = read_reused(folder)
        origin = f", reused from {taken.sweep}" if taken else ""
        where = reusable.here[trial.identity].name if trial.identity in reusable.here else str(folder)
        return [f"done here, {where}{origin}"]
    source = reusable.sources.get(trial.identity)
    if source is not None:
        return _taken(trial, source)
    forgotten = not reuse and read_reused(folder) is not None
    step = 0 if forgotten else newest_step(folder / CHECKPOINTS, trial.averages)
    if step:
        return [f"resumes at step {step} of {trial.config.schedule.steps}"]
    prefix = plan.prefixes.of(trial)
    if prefix is not None:
        rest = trial.config.schedule.steps - prefix.step
        why = (
            "extend=..., whose schedule is another one" if prefix.extension else "up to there both have the same state"
        )
        trained = f"{why}; {rest} of {trial.config.schedule.steps} steps are trained"
        return [f"from step {prefix.step} of {prefix.trunk.label} ({short_identity(prefix.trunk.identity)})", trained]
    lines = ["new", *_parted(trial, reusable.trunks.get(trial.identity, ()))]
    if not forgotten and newest_step(folder / CHECKPOINTS):
        needed = ", ".join(f"{decay:g}" for decay in sorted(trial.averages))
        lines.append(f"its checkpoints lack a moving average that is evaluated (schedule.ema={needed})")
    if not reuse:
        lines.append("reuse=false: other sweeps are not looked at")
    if trial.identity in reusable.problems:
        lines.append(f"finished before, but not to be reused: {reusable.problems[trial.identity]}")
    return lines + _describe_nearest(trial, others)


def _parted(trial: Trial, trunks: Sequence[Trunk]) -> list[str]:
    """Describe why a training does not go on from others that differ in their schedules alone: where they part."""
    lines = []
    for trunk in trunks[:LINES]:
        step = common_steps(trunk.schedule, trial.config.schedule)
        pair = ({"schedule": each.model_dump(mode="json")} for each in (trunk.schedule, trial.config.schedule))
        changed = [line for line in changed_keys(*pair) if line.split(":")[0] in RATES_ONLY]
        kept = ", ".join(map(str, sorted(held_checkpoints(trunk.folder))))
        lines.append(f"{trunk.label} is the same up to step {step} alone, and has checkpoints at {kept}:")
        lines += [f"  {line}" for line in changed]
    return lines


def _taken(trial: Trial, source: ReuseSource) -> list[str]:
    lines = [f"not trained; weights of {source.trained.name}"]
    for arm in trial.arms:
        run = source.evaluated.get(arm)
        lines.append(f"{arm or 'the run'}: {f'reused from {run.name}' if run else 'evaluated with other settings'}")
    return lines


class FinishedRuns:
    """Finished runs of a store, of which the one nearest to a training is found.

    A plan may have thousands of trainings, each of which is compared with a thousand runs: as rows of whole numbers,
    one for each value of a key.
    """

    def __init__(self, runs: Sequence[PastRun], provenance: Provenance) -> None:
        """Create it for the newest runs of a store; provenance: of the plan."""
        self._runs = [run for run in runs if run.identity and not run.is_copy]
        self._provenance = provenance
        settings = [_recorded(run) for run in self._runs]
        self._columns = {
            key: column for column, key in enumerate(dict.fromkeys(key for each in settings for key in each))
        }
        self._codes = {ABSENT: 0}
        self._recorded = np.zeros((len(settings), len(self._columns)), dtype=np.int32)
        for row, each in enumerate(settings):
            for key, value in each.items():
                self._recorded[row, self._columns[key]] = self._codes.setdefault(value, len(self._codes))
        # Keys that are left out -> whether a column counts.
        self._counted: dict[tuple[str, ...], npt.NDArray[np.bool_]] = {}
        # Row and keys that are left out -> what is compared of a run.
        self._compared: dict[tuple[int, tuple[str, ...]], dict[str, str]] = {}

    def nearest(self, trial: Trial) -> tuple[PastRun, list[str]] | None:
        """Return the newest run with the fewest differences to a training, and these; None where there is none.

        A run of the same identity is no neighbour; why it is no use is described apart.
        """
        left_out = _left_out(trial)
        planned = _planned(trial, self._provenance, left_out)
        codes = np.zeros(len(self._columns), dtype=np.int32)
        elsewhere = 0
        for key, value in planned.items():
            if key in self._columns:
                codes[self._columns[key]] = self._codes.get(value, -1)
            else:
                elsewhere += value != ABSENT
        if left_out not in self._counted:
            self._counted[left_out] = np.array([not _is_below(key, left_out) for key in self._columns], dtype=bool)
        numbers = np.count_nonzero((self._recorded != codes) & self._counted[left_out], axis=1) + elsewhere
        others = np.flatnonzero(numbers)
        if not len(others):
            return None
        row = int(others[np.argmin(numbers[others])])
        if (row, left_out) not in self._compared:
            self._compared[row, left_out] = _compared(self._runs[row], left_out)
        return self._runs[row], _changed(self._compared[row, left_out], planned)


def _describe_nearest(trial: Trial, others: FinishedRuns) -> list[str]:
    """Describe the finished run with the fewest differences."""
    nearest = others.nearest(trial)
    if nearest is None:
        return ["no other finished training in the store to compare with"]
    run, lines = nearest
    count = "1 difference" if len(lines) == 1 else f"{len(lines)} differences"
    more = [f"  and {len(lines) - LINES} more"] if len(lines) > LINES else []
    name = run.tags.get("mlflow.runName", run.arm)
    return [f"nearest is {run.name} ({name}), {count}:", *(f"  {line}" for line in lines[:LINES]), *more]


def differences(trial: Trial, provenance: Provenance, run: PastRun) -> list[str]:
    """Return `what: theirs -> ours` for all that enters the identity of a training: config, code, versions, data."""
    left_out = _left_out(trial)
    return _changed(_compared(run, left_out), _planned(trial, provenance, left_out))


def _left_out(trial: Trial) -> tuple[str, ...]:
    """Return the keys that do not enter the identity of a training."""
    return (*RUN_ONLY, *EVALUATION_ONLY, *pinned_keys(trial.values))


def _planned(trial: Trial, provenance: Provenance, left_out: tuple[str, ...]) -> dict[str, str]:
    """Return what is compared of a training, as text: config, then code, versions and data."""
    config = {key: param_text(value) for key, value in flatten(without(trial.values, left_out)).items()}
    code = {CODE: _short(provenance.code)}
    return {**_without_null_seeds(config), **code, **_versions(provenance.versions), DATA: trial.data_digest}


def _compared(run: PastRun, left_out: tuple[str, ...]) -> dict[str, str]:
    """Return what is compared of a run, as text, without some keys."""
    return {key: value for key, value in _recorded(run).items() if not _is_below(key, left_out)}


def _recorded(run: PastRun) -> dict[str, str]:
    """Return what a run records of what is compared, as text."""
    code, data = {CODE: _short(run.tags.get(Tag.CODE))}, {DATA: run.tags.get(Tag.DATA_DIGEST, "?")}
    return {**_without_null_seeds(run.params), **code, **_versions(_recorded_versions(run)), **data}


def _without_null_seeds(settings: Mapping[str, str]) -> dict[str, str]:
    """Return settings without single seeds that are null: runs of earlier versions have none, which means the same."""
    null = param_text(None)
    return {key: value for key, value in settings.items() if value != null or not _is_below(key, ("seeds",))}


def _changed(theirs: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
    # What is no key of the configuration comes last.
    keys = sorted(dict.fromkeys([*ours, *theirs]), key=_slot)
    pairs = {key: (theirs.get(key, ABSENT), ours.get(key, ABSENT)) for key in keys}
    return [f"{key}: {before} -> {now}" for key, (before, now) in pairs.items() if before != now]


def _slot(key: str) -> int:
    return 1 if key == CODE else 2 if key.startswith(VERSION) else 3 if key == DATA else 0


def _recorded_versions(run: PastRun) -> Mapping[str, str]:
    """Return the package versions that a run records; none where its tag was edited and cannot be read."""
    try:
        return _VERSIONS.validate_json(run.tags.get(Tag.VERSIONS, "{}"))
    except ValidationError:
        return {}


def _versions(versions: Mapping[str, str]) -> dict[str, str]:
    return {f"{VERSION}{name}": version for name, version in versions.items()}


def _short(digest: str | None) -> str:
    return "unknown" if digest is None else digest[:12]


def _is_below(key: str, sections: tuple[str, ...]) -> bool:
    return any(key == section or key.startswith(f"{section}.") for section in sections)
