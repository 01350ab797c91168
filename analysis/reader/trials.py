"""The trials of a sweep, read from their runs."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from analysis.reader.repeats import read_stored_repeats
from analysis.reader.sweep import Provenance, Trial
from fcos.storage.store_conventions import Tag, extension_of, parse_param, seed_of, training_of

if TYPE_CHECKING:
    from mlflow.entities import Run

# Tags of a training that took its first steps from another one.
BEGUN = {Tag.BEGUN_AT, Tag.BEGUN_FROM}
# The last one that a datetime has, in milliseconds since 1970: 9999-12-31.
LAST_DAY = 253_402_214_400_000
_SAMPLED = TypeAdapter(dict[str, Any])


def read_trials(runs: "list[Run]") -> tuple[Trial, ...]:
    """Return the runs as trials by arm and seed; of each pair the finished or else the newest one counts.

    Runs whose tags cannot be read are left out; see `note_unreadable`.
    """
    trials = [_read_trial(run) for run in runs if _broken_tag(run) is None]
    # A run that another one replaced counts for nothing, however it ended.
    trials.sort(key=lambda trial: (not trial.superseded, trial.is_finished, trial.started, trial.run_id), reverse=True)
    seen: set[tuple[str, int]] = set()
    marked = []
    for trial in trials:
        key = (trial.arm, trial.seed)
        marked.append(replace(trial, superseded=trial.superseded or key in seen))
        seen.add(key)
    return tuple(sorted(marked, key=lambda trial: (trial.arm, trial.seed, trial.superseded, trial.started)))


def note_unreadable(runs: "list[Run]") -> list[str]:
    """Return a note on each run that is left out as one of its tags was edited and cannot be read."""
    broken = {run.info.run_id: _broken_tag(run) for run in runs}
    return [
        f"Run {run_id} is left out: its tag {problem}." for run_id, problem in broken.items() if problem is not None
    ]


def _broken_tag(run: "Run") -> str | None:
    """Return what is wrong with a tag that has a form; None where nothing is."""
    tags: Mapping[str, str] = run.data.tags
    if seed_of({Tag.SEED: _seed_text(run)}) is None:
        advice = "where it is not corrected, the sweep's command makes another run"
        return f"{Tag.SEED}={_seed_text(run)[:40]} is no whole number; {advice}"
    try:
        _SAMPLED.validate_json(tags.get(Tag.SAMPLED, "{}"))
    except ValidationError:
        return f"{Tag.SAMPLED}={tags[Tag.SAMPLED][:40]} is no JSON object; it has to be corrected"
    return None


def _read_trial(run: "Run") -> Trial:
    tags: Mapping[str, str] = run.data.tags
    pruned = tags.get(Tag.PRUNED, "")
    return Trial(
        arm=tags.get(Tag.ARM) or run.info.run_name or run.info.run_id,
        seed=int(_seed_text(run)),
        run_id=run.info.run_id,
        status=run.info.status,
        started=to_datetime(run.info.start_time),
        params={key: parse_param(value) for key, value in run.data.params.items()},
        metrics=dict(run.data.metrics),
        provenance=_read_provenance(tags),
        superseded=Tag.SUPERSEDED in tags,
        failure=tags.get(Tag.FAILURE, ""),
        notes=tuple(tags.get(Tag.NOTES, "").splitlines()),
        pruned_at=int(pruned) if pruned.isdecimal() else None,
        sampled=_SAMPLED.validate_json(tags.get(Tag.SAMPLED, "{}")),
        workers=tags.get(Tag.WORKERS, ""),
        workers_matter=tags.get(Tag.WORKERS_DECIDE, ""),
        training=training_of(run.info.run_id, tags),
        repeats=read_stored_repeats(run.info.run_id, tags),
    )


def _read_provenance(tags: Mapping[str, str]) -> Provenance:
    return Provenance(
        data=tags.get(Tag.DATA, ""),
        data_digest=tags.get(Tag.DATA_DIGEST, ""),
        git_commit=tags.get(Tag.GIT_COMMIT, ""),
        git_dirty=tags.get(Tag.GIT_DIRTY, "").lower() == "true",
        hardware=tags.get(Tag.HARDWARE, ""),
        identity=tags.get(Tag.IDENTITY, ""),
        code=tags.get(Tag.CODE, ""),
        versions=tags.get(Tag.VERSIONS, ""),
        laboratory=tags.get(Tag.LABORATORY, ""),
        archive=tags.get(Tag.ARCHIVE, ""),
        retrain_reason=tags.get(Tag.RETRAIN_REASON, ""),
        checkpoint=tags.get(Tag.CHECKPOINT, ""),
        checkpoint_sha256=tags.get(Tag.CHECKPOINT_SHA256, ""),
        trained_by=tags.get(Tag.TRAINED_BY, ""),
        trained_in=tags.get(Tag.TRAINED_IN, ""),
        begun_from=f"step {tags[Tag.BEGUN_AT]} of {tags[Tag.BEGUN_FROM]}" if tags.keys() >= BEGUN else "",
        extends=extension_of(tags),
        inexact=f"{tags[Tag.INEXACT]}, {tags.get(Tag.ACCUMULATE, '?')} a step" if Tag.INEXACT in tags else "",
    )


def _seed_text(run: "Run") -> str:
    """Return the seed as it is recorded: by the tag, or by the config of a run without it."""
    return str(run.data.tags.get(Tag.SEED, run.data.params.get("seed", "0")))


def to_datetime(milliseconds: int | None) -> datetime:
    """Return a time of MLflow, milliseconds since 1970, in UTC; of one behind all dates the last day."""
    return datetime.fromtimestamp(min(milliseconds or 0, LAST_DAY) / 1000, UTC)
