"""The best finished run of a sweep, or a run by itself, with what is needed to register its weights."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fcos.errors import ConfigError, suggest
from fcos.metrics import Mode, better_end
from fcos.storage.run_folder import SUMMARY
from fcos.storage.store_conventions import Artifact, RunKind, RunStatus, Tag, join_experiment_tags, public_uri, seed_of

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

# Of a run outside of any experiment.
DEFAULT_METRIC = "val/AP"
# The first digits of a training's identity.
TRAINING_FOLDER = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True)
class Choice:
    """Which of a sweep's runs may be chosen: of an arm, of a seed; None for any."""

    arm: str | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Ranking:
    """The metric that runs are ranked by, and its better end."""

    metric: str
    mode: Mode


@dataclass(frozen=True)
class ChosenRun:
    """A finished run whose weights are registered, and among how many it was the best."""

    run_id: str
    experiment_id: str
    sweep: str
    # "" and None of a run outside of a sweep.
    arm: str
    seed: int | None
    ranking: Ranking
    value: float
    finished: int
    # Finished ones without a finite value, which have no rank.
    unranked: int
    identity: str
    train_identity: str
    data_digest: str
    checkpoint: Path
    checkpoint_sha256: str

    @property
    def label(self) -> str:
        """The run in messages."""
        of_arm = f"{self.arm} seed {self.seed}, " if self.arm else ""
        return f"{of_arm}run {self.run_id[:8]}"

    @property
    def line(self) -> str:
        """Describe by what the run was chosen, in one line."""
        reached = f"{self.ranking.metric} {self.value:.4g}"
        if self.finished == 1:
            return f"{self.sweep}: {self.label}, {reached}, the only finished run"
        better = "highest" if self.ranking.mode == "max" else "lowest"
        left_out = f"; {self.unranked} without a finite value have no rank" if self.unranked else ""
        return f"{self.sweep}: {self.label}, {reached}, the {better} of {self.finished} finished runs{left_out}"


class _Search(BaseModel):
    """The search in a sweep's record."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    metric: str
    mode: Mode


class _Experiment(BaseModel):
    """The metrics of an experiment in a sweep's record."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    metrics: tuple[str, ...] = Field(min_length=1)
    search: _Search | None = None


def choose_run(client: "MlflowClient", uri: str, what: str, choice: Choice) -> ChosenRun:
    """Return the best finished run of a sweep, by its name or run id, or a run by its own id, folder or name.

    Raises ConfigError where there is none, or where its weights are not here.
    """
    runs, ranking = _candidates(client, uri, what)
    named = [run for run in runs if _matches(run, choice)]
    if not named:
        raise ConfigError(_no_such_run(what, runs, choice))
    finished = [run for run in named if run.info.status == RunStatus.FINISHED]
    if not finished:
        states = ", ".join(sorted({str(run.info.status) for run in named}))
        raise ConfigError(f"{what}: no run of it is finished ({states}); the same command goes on with it")
    ranked = [run for run in finished if math.isfinite(run.data.metrics.get(ranking.metric, math.nan))]
    if not ranked:
        raise ConfigError(f"{what}: no finished run of it has a finite {ranking.metric}; name one by --arm and --seed")
    best = _best(ranked, ranking)
    return _chosen(best, ranking, len(finished), len(finished) - len(ranked))


def _best(runs: "Sequence[Run]", ranking: Ranking) -> "Run":
    """Return the run of the best value; of equals the first by arm and seed."""
    sign = -1 if ranking.mode == "max" else 1
    return min(
        runs,
        key=lambda run: (
            sign * run.data.metrics[ranking.metric],
            run.data.tags.get(Tag.ARM, ""),
            seed_of(run.data.tags) or 0,
        ),
    )


def _candidates(client: "MlflowClient", uri: str, what: str) -> "tuple[list[Run], Ranking]":
    """Return the runs that a sweep, a run or a folder names, and what ranks them."""
    if (Path(what) / Artifact.PLAN).is_file():
        # A sweep's folder is named after it.
        what = Path(what).resolve().name
    experiment_ids = [each.experiment_id for each in client.search_experiments(max_results=1000)]
    heads = _heads(client, experiment_ids)
    named = next((run for run in heads if what in (run.info.run_id, _name(run))), None)
    if named is None:
        found = _trial_runs(client, experiment_ids, what)
        if not found:
            names = list(dict.fromkeys(map(_name, heads)))
            hint = suggest(what, names) or f"there are {', '.join(names[:8]) or 'none'}"
            raise ConfigError(f"{what}: no sweep and no run in {public_uri(uri)} by that name, id or folder; {hint}")
        parent = found[0].data.tags.get(Tag.PARENT_RUN)
        return found, _ranking(client.get_run(parent)) if parent else Ranking(DEFAULT_METRIC, "max")
    if named.data.tags[Tag.KIND] == RunKind.RUN:
        return [named], Ranking(DEFAULT_METRIC, "max")
    below = f"tags.`{Tag.PARENT_RUN}` = '{named.info.run_id}'"
    trials = _search(client, [named.info.experiment_id], below)
    return [run for run in trials if run.data.tags.get(Tag.KIND) == RunKind.TRIAL], _ranking(named)


def _heads(client: "MlflowClient", experiment_ids: list[str]) -> "list[Run]":
    """Return the sweeps and single runs of a store, newest first."""
    kinds = (RunKind.SWEEP, RunKind.RUN)
    runs = [run for kind in kinds for run in _search(client, experiment_ids, f"tags.`{Tag.KIND}` = '{kind}'")]
    return sorted(runs, key=lambda run: (run.info.start_time or 0, str(run.info.run_id)), reverse=True)


def _trial_runs(client: "MlflowClient", experiment_ids: list[str], what: str) -> "list[Run]":
    """Return the trial of a run id, or those of a training's folder."""
    from mlflow.exceptions import MlflowException

    folder = Path(what).resolve()
    if (folder / SUMMARY).is_file() and TRAINING_FOLDER.fullmatch(folder.name):
        runs = _search(client, experiment_ids, f"tags.`{Tag.TRAIN_IDENTITY}` LIKE '{folder.name}%'")
        return [run for run in runs if run.data.tags.get(Tag.FOLDER) == str(folder)]
    try:
        run = client.get_run(what)
    except MlflowException:
        return []
    return [run] if run.data.tags.get(Tag.KIND) == RunKind.TRIAL and Tag.SUPERSEDED not in run.data.tags else []


def _search(client: "MlflowClient", experiment_ids: list[str], condition: str) -> "list[Run]":
    """Return all active runs that match and are not superseded."""
    runs: list[Run] = []
    token = None
    while experiment_ids:
        page = client.search_runs(experiment_ids, condition, max_results=1000, page_token=token)
        runs += [run for run in page if Tag.SUPERSEDED not in run.data.tags]
        token = page.token
        if not token:
            break
    return runs


def _name(run: "Run") -> str:
    return str(run.data.tags.get(Tag.SWEEP) or run.info.run_name)


def _ranking(sweep: "Run") -> Ranking:
    """Return a search's own metric and end, else the better end of the experiment's first metric."""
    try:
        declared = _Experiment.model_validate_json(join_experiment_tags(sweep.data.tags) or b"")
    except ValidationError:
        raise ConfigError(
            f"{_name(sweep)}: its run {sweep.info.run_id} does not record which metric its experiment is about; name "
            "one of its trials by its run id"
        ) from None
    if declared.search is not None:
        return Ranking(declared.search.metric, declared.search.mode)
    metric = declared.metrics[0]
    return Ranking(metric, better_end(metric) or "max")


def _matches(run: "Run", choice: Choice) -> bool:
    tags = run.data.tags
    of_seed = choice.seed is None or tags.get(Tag.SEED) == str(choice.seed)
    return of_seed and choice.arm in (None, tags.get(Tag.ARM))


def _no_such_run(what: str, runs: "Sequence[Run]", choice: Choice) -> str:
    given = [f"--arm {choice.arm}"] if choice.arm is not None else []
    given += [f"--seed {choice.seed}"] if choice.seed is not None else []
    arms = sorted({run.data.tags.get(Tag.ARM, "") for run in runs})
    seeds = sorted({seed_of(run.data.tags) or 0 for run in runs})
    has = f"it has the arms {', '.join(arms)} and the seeds {', '.join(map(str, seeds))}" if runs else "it has no runs"
    return f"{what}: no run of it for {' '.join(given) or 'any arm'}; {has}"


def _chosen(run: "Run", ranking: Ranking, finished: int, unranked: int) -> ChosenRun:
    tags = run.data.tags
    chosen = ChosenRun(
        run_id=run.info.run_id,
        experiment_id=run.info.experiment_id,
        sweep=_name(run),
        arm=tags.get(Tag.ARM, ""),
        seed=seed_of(tags) if tags.get(Tag.ARM) else None,
        ranking=ranking,
        value=float(run.data.metrics[ranking.metric]),
        finished=finished,
        unranked=unranked,
        identity=tags.get(Tag.IDENTITY, ""),
        train_identity=tags.get(Tag.TRAIN_IDENTITY, ""),
        data_digest=tags.get(Tag.DATA_DIGEST, ""),
        checkpoint=Path(tags.get(Tag.CHECKPOINT, "")),
        checkpoint_sha256=tags.get(Tag.CHECKPOINT_SHA256, ""),
    )
    reason = _why_not_here(run, chosen)
    if reason:
        raise ConfigError(f"{chosen.line}: {reason}")
    return chosen


def _why_not_here(run: "Run", chosen: ChosenRun) -> str:
    """Return why the weights of a run cannot be registered; empty where they can."""
    tags = run.data.tags
    if Tag.SEED in tags and seed_of(tags) is None:
        return f"its tag {Tag.SEED}={tags[Tag.SEED]} is no whole number; correct the tag"
    if Tag.ARCHIVE in tags:
        where = tags.get(Tag.LABORATORY) or "another laboratory"
        return f"it was imported and trained at {where}; its weights are not here"
    if Tag.CHECKPOINT not in tags:
        return "it has no weights, as nothing was trained"
    if Tag.CHECKPOINT_REMOVED in tags and not chosen.checkpoint.exists():
        return (
            f"its checkpoint was removed ({tags[Tag.CHECKPOINT_REMOVED]}); keep.trained=null keeps those of all "
            "trainings"
        )
    if not chosen.checkpoint_sha256:
        return "an older version recorded it, without the hash of its checkpoint"
    if not chosen.checkpoint.is_dir():
        return f"its checkpoint {chosen.checkpoint} is not on this machine"
    return ""
