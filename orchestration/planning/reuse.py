"""Reuse of finished runs: results and weights that other sweeps of the store have are taken from there."""

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fcos.storage.checkpoint_folder import CheckpointError, averages_in, digest, verify
from fcos.storage.run_folder import CHECKPOINTS, DETECTIONS, EVALUATION, ORIGIN, MetricPoint, RunSummary
from fcos.storage.store_conventions import Tag
from orchestration.config.schema import LabConfig
from orchestration.experiment.prefixes import Trunk
from orchestration.experiment.trials import Trial
from orchestration.planning.first_steps.trunks import find_trunks
from orchestration.planning.plan import Plan
from orchestration.tracking.history import History, TaggedRun, open_history
from orchestration.tracking.problems import TrackingError
from orchestration.trial import files
from orchestration.trial.origin import read_origin
from orchestration.trial.retries import carry_micro_batching

FetchTraining = Callable[[Path], None]


@dataclass(frozen=True)
class ReuseSource:
    """Finished runs that a trial of the same identity is taken from."""

    # Its folder holds the curves, the summary and the way to the weights.
    trained: TaggedRun
    # Arm -> a run with the very same evaluation; the other arms are evaluated anew on its weights.
    evaluated: Mapping[str, TaggedRun]


@dataclass(frozen=True)
class ReusableRuns:
    """What the store holds of the trials that this sweep has not finished itself."""

    history: History | None
    # Why nothing is known, or is not used.
    note: str = ""
    # Train identity -> where it is taken from.
    sources: Mapping[str, ReuseSource] = field(default_factory=dict)
    # Train identity -> the run of a trial that is done here, looked up for a preview only.
    here: Mapping[str, TaggedRun] = field(default_factory=dict)
    # Train identity -> why a finished run of it is no use.
    problems: Mapping[str, str] = field(default_factory=dict)
    # Train identity -> trainings of other sweeps that have a checkpoint of its first steps.
    trunks: Mapping[str, Sequence[Trunk]] = field(default_factory=dict)
    # Why the store cannot be read; empty where it can, or there is none yet.
    outage: str = ""


def is_here(_: Path) -> None:
    """Do nothing: the folder of a training is here, or nowhere."""


def find_reusable(lab: LabConfig, plan: Plan, fetch: FetchTraining = is_here) -> ReusableRuns:
    """Look up trials that are not finished here, or whose checkpoint is a dangling link.

    fetch: brings a training's folder here from the bucket of the output; raises OSError. A store that does not answer
    gives a note, or TrackingError with tracking.required.
    """
    open_trials = [
        trial
        for trial in plan.trials
        if not is_done(plan, trial, reuse=lab.reuse) or dangling_links(plan.folder_of(trial))
    ]
    previews = lab.explain or lab.dry_run
    is_needed = previews or bool(open_trials)
    try:
        history = open_history(lab.tracking.uri, lab.folder)
        if history is None or not is_needed:
            # Looks at trainings that are all finished here count too, and are looked up in it.
            return ReusableRuns(history)
        known = history.of_trainings([each.identity for each in (plan.trials if previews else open_trials)])
        here = {trial.identity: _run_here(known[trial.identity], plan, trial) for trial in plan.trials if previews}
        looked_up = {
            each.identity: choose_source(known[each.identity], each, fetch) for each in open_trials if lab.reuse
        }
        new = [trial for trial in open_trials if looked_up.get(trial.identity, (None, ""))[0] is None]
        trunks = find_trunks(history, plan, new) if lab.reuse and lab.share_prefixes else {}
    except TrackingError as error:
        if lab.tracking.required:
            raise
        note = f"{error}; nothing is reused from other sweeps" if is_needed else ""
        return ReusableRuns(None, note, outage=str(error))
    sources = {identity: source for identity, (source, _) in looked_up.items() if source is not None}
    problems = {identity: problem for identity, (source, problem) in looked_up.items() if source is None and problem}
    note = ""
    if problems:
        count = "1 training is" if len(problems) == 1 else f"{len(problems)} trainings are"
        note = f"{count} finished elsewhere and not to be reused: {next(iter(problems.values()))}"
    here_known = {key: run for key, run in here.items() if run is not None}
    return ReusableRuns(history, note, sources, here_known, problems, trunks)


def _run_here(runs: Iterable[TaggedRun], plan: Plan, trial: Trial) -> TaggedRun | None:
    return next((run for run in runs if run.tags.get(Tag.FOLDER) == str(plan.folder_of(trial))), None)


def is_done(plan: Plan, trial: Trial, *, reuse: bool) -> bool:
    """Return whether the trial's result is in this sweep's folder; one from elsewhere counts with reuse alone."""
    if not reuse and rests_on_others(plan, trial):
        return False
    return plan.summary_of(trial) is not None


def rests_on_others(plan: Plan, trial: Trial) -> bool:
    """Return whether other sweeps trained a trial, or its first steps."""
    folder = plan.folder_of(trial)
    origin = read_origin(folder)
    return files.read_reused(folder) is not None or (origin is not None and origin.sweep not in ("", plan.name))


def find_reuse_source(history: History, trial: Trial, fetch: FetchTraining = is_here) -> tuple[ReuseSource | None, str]:
    """Return the finished runs that a trial can be taken from, and what is wrong with others of its identity."""
    return choose_source(history.of_training(trial.identity), trial, fetch)


def choose_source(
    runs: Iterable[TaggedRun], trial: Trial, fetch: FetchTraining = is_here
) -> tuple[ReuseSource | None, str]:
    """Return of some finished runs those that a trial can be taken from, and what is wrong with the others.

    A checkpoint on which an arm has yet to be evaluated must hold the moving average that the arm needs.
    """
    good, problem = [], ""
    seen: dict[str, str] = {}
    for run in runs:
        folder = run.tags.get(Tag.FOLDER, "")
        if folder not in seen:
            seen[folder] = _problem(run, trial, fetch)
        if seen[folder]:
            problem = f"{run.name}: {seen[folder]}"
        else:
            good.append(run)
    by_identity = {run.identity: run for run in reversed(good)}
    evaluated = {
        arm: by_identity[trial.identity_of(arm)] for arm in trial.arms if trial.identity_of(arm) in by_identity
    }
    if not good or (trial.is_coverage and len(evaluated) < len(trial.arms)):
        return None, problem
    needed = {each.ema for arm, each in trial.arms.items() if arm not in evaluated and each.ema is not None}
    for run in (*evaluated.values(), *good):
        lacking = needed - averages_in(Path(run.tags[Tag.CHECKPOINT])) if needed else ()
        if not lacking:
            return ReuseSource(run, evaluated), problem
        decays = ", ".join(f"{decay:g}" for decay in sorted(lacking))
        problem = f"{run.name}: its checkpoint lacks the moving average of schedule.ema={decays}"
    return None, problem


def _problem(run: TaggedRun, trial: Trial, fetch: FetchTraining) -> str:
    """Return why a finished run cannot be taken over; empty where it can."""
    folder = run.tags.get(Tag.FOLDER, "(unknown)")
    try:
        fetch(Path(folder))
        return _unusable(run, trial, Path(folder))
    except CheckpointError as error:
        return str(error)
    except OSError as error:
        return f"{error.filename or folder} cannot be read ({error.strerror or error})"


def _unusable(run: TaggedRun, trial: Trial, folder: Path) -> str:
    summary = files.read_summary(folder, trial.identity, [run.arm])
    if Tag.FOLDER not in run.tags or summary is None:
        return f"its folder {folder} is not here or holds no summary"
    if files.training_id(folder) != run.tags.get(Tag.TRAINING_ID, ""):
        return f"its folder {folder} holds another training of the same identity"
    # All that would be copied must be readable, before anything of it is.
    files.read_points(folder)
    for file in (folder / name for name in summary.all_files()):
        if file.exists():
            file.open("rb").close()
    if trial.is_coverage:
        return ""
    if Tag.INEXACT in run.tags:
        return f"it trained with other {run.tags[Tag.INEXACT]}, for want of memory"
    path = Path(run.tags.get(Tag.CHECKPOINT, ""))
    verify(path)
    return "" if digest(path) == run.tags.get(Tag.CHECKPOINT_SHA256) else f"{path}: is not the checkpoint it saved"


def take_all(lab: LabConfig, plan: Plan, trials: Iterable[Trial], reusable: ReusableRuns) -> None:
    """Copy what other sweeps have of some trials into this sweep's folder; with reuse=false remove earlier copies."""
    for trial in trials:
        folder = plan.folder_of(trial)
        source = reusable.sources.get(trial.identity)
        if not lab.reuse and rests_on_others(plan, trial):
            shutil.rmtree(folder)
        elif is_done(plan, trial, reuse=lab.reuse):
            _mend_links(folder, source)
        elif source is not None:
            _try_take(trial, source, folder)
        elif dangling_links(folder):
            # What it rested on is gone: it is trained from the start, as another training than the one it was.
            shutil.rmtree(folder)


def _try_take(trial: Trial, source: ReuseSource, folder: Path) -> None:
    """Take a trial over; one whose source has gone since it was verified is trained, with a note."""
    try:
        take(trial, source, folder)
    except (OSError, ValueError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        files.add_note(folder, f"not taken over from {source.trained.name}: {error}")


class LaterReuse:
    """Reuse for trainings that a search adds while it runs, of what the store held when the command began."""

    def __init__(self, lab: LabConfig, fetch: FetchTraining = is_here) -> None:
        self._lab, self._fetch = lab, fetch
        # None where nothing is reused, or the store has failed once: it is not waited for again.
        self._history: History | None = None
        if lab.reuse:
            with suppress(TrackingError):
                self._history = open_history(lab.tracking.uri, lab.folder)

    def take(self, plan: Plan, trial: Trial) -> None:
        """Copy what another sweep has of a trial into this sweep's folder, as `take_all` does."""
        if self._history is None:
            return
        try:
            source, _ = find_reuse_source(self._history, trial, self._fetch)
        except TrackingError:
            self._history = None
            return
        if source is not None:
            take_all(self._lab, plan, [trial], ReusableRuns(self._history, sources={trial.identity: source}))


def dangling_links(folder: Path) -> list[Path]:
    """Return the checkpoints of a training that are links to what is not there any more."""
    return [link for link in (folder / CHECKPOINTS).glob("*") if link.is_symlink() and not link.exists()]


def _mend_links(folder: Path, source: ReuseSource | None) -> None:
    """Link the dangling checkpoint of a finished training to the same weights elsewhere, or remove the link."""
    for link in dangling_links(folder):
        link.unlink()
        if source is None:
            continue
        summary = files.load_summary(Path(source.trained.tags[Tag.FOLDER]))
        if summary.checkpoint and summary.checkpoint_sha256 == files.load_summary(folder).checkpoint_sha256:
            _link(folder / summary.checkpoint, Path(source.trained.tags[Tag.CHECKPOINT]))


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    # Relative, so that outputs can be moved as a whole.
    link.symlink_to(os.path.relpath(target.resolve(), link.parent.resolve()), target_is_directory=True)


def take(trial: Trial, source: ReuseSource, folder: Path) -> None:
    """Fill a trial's folder as if it had been trained there: curves, evaluations, tables, a link to the weights.

    The summary, which marks that all is done, is left out where an arm has yet to be evaluated.
    """
    # What an earlier attempt left unfinished is not needed any more.
    shutil.rmtree(folder, ignore_errors=True)
    files.begin_training(folder)
    origin = Path(source.trained.tags[Tag.FOLDER])
    summary = files.load_summary(origin)
    files.append_points(folder, _points(source, origin))
    if summary.checkpoint:
        _link(folder / summary.checkpoint, origin / summary.checkpoint)
    for name in (*summary.files, *([summary.thumbnails] if summary.thumbnails else [])):
        _copy(origin / name, folder / name)
    taken = _take_evaluations(source, summary, folder)
    trained, tags = source.trained, source.trained.tags
    record = files.ReuseRecord(
        trained_by=tags.get(Tag.TRAINED_BY, trained.run_id),
        sweep=tags.get(Tag.TRAINED_IN, trained.sweep),
        arms={arm: run.run_id for arm, run in source.evaluated.items()},
    )
    files.write_reused(folder, record)
    _copy(origin / ORIGIN, folder / ORIGIN)
    carry_micro_batching(origin, folder)
    if set(trial.arms) <= set(taken.metrics):
        files.write_summary(folder, trial.identity, taken)
    else:
        for note in taken.notes:
            files.add_note(folder, note)


def _take_evaluations(source: ReuseSource, summary: RunSummary, folder: Path) -> RunSummary:
    """Copy the files of the evaluated arms; return the training's summary with these arms alone.

    They may have been evaluated on several trainings of the same identity, of which all notes count.
    """
    metrics: dict[str, dict[str, float]] = {}
    pictures: dict[str, tuple[str, ...]] = {}
    evaluations: dict[str, tuple[str, ...]] = {}
    notes = dict.fromkeys(summary.notes)
    for arm, run in source.evaluated.items():
        origin = Path(run.tags[Tag.FOLDER])
        theirs = files.load_summary(origin)
        metrics[arm] = theirs.metrics[run.arm]
        pictures[arm] = _copy_all(origin, theirs.pictures.get(run.arm, ()), folder, Path(DETECTIONS, arm))
        if run.arm in theirs.evaluations:
            evaluations[arm] = _copy_all(origin, theirs.evaluations[run.arm], folder, Path(EVALUATION, arm))
        notes |= dict.fromkeys(theirs.notes)
    # Only the last checkpoint has a link.
    update = {"best": None, "metrics": metrics, "pictures": pictures, "evaluations": evaluations}
    return summary.model_copy(update={**update, "notes": tuple(notes)})


def _points(source: ReuseSource, origin: Path) -> list[MetricPoint]:
    """Return the points of the training, and those of each evaluated arm under the name that it has here."""
    points = [point for point in files.read_points(origin) if point.arm is None]
    for arm, run in source.evaluated.items():
        theirs = files.read_points(Path(run.tags[Tag.FOLDER]))
        points += [point._replace(arm=arm) for point in theirs if point.arm == run.arm]
    return points


def _copy_all(origin: Path, names: Iterable[str], folder: Path, below: Path) -> tuple[str, ...]:
    """Copy files into a folder below a trial's; return their names there."""
    copies = {name: str(below / Path(name).name) for name in names}
    for name, copy in copies.items():
        _copy(origin / name, folder / copy)
    return tuple(copies.values())


def _copy(file: Path, target: Path) -> None:
    if file.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
