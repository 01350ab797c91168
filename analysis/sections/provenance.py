"""Where every number comes from, and what differs among the trials that are compared."""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.formatting import format_count, join_words
from analysis.reader.client import read_artifact
from analysis.reader.sweep import Sweep

# Tag -> what it says; the values of all trials in a comparison ought to be one and the same.
SHARED_TAGS = {
    "fcos.git_commit": "git commits",
    "fcos.data_digest": "data digests",
    "fcos.data": "data sets",
    "fcos.hardware": "kinds of hardware",
}


def provenance(sweep: Sweep) -> pd.DataFrame:
    """One row per run of the sweep, superseded attempts too, with what its numbers were made from."""
    owners = {row.run_id: f"{row.arm} seed {row.seed}" for row in sweep.trials.itertuples()}
    order = {arm: position for position, arm in enumerate(sweep.experiment.arms)}
    trials = sweep.trials.assign(order=[order.get(arm, len(order)) for arm in sweep.trials["arm"]])
    trials = trials.sort_values(["order", "arm", "seed", "superseded"])
    rows = [_row(trial, owners) for trial in trials.to_dict("records")]
    columns = [
        "arm",
        "seed",
        "status",
        "run_id",
        "trained_by",
        "commit",
        "data",
        "identity",
        "hardware",
        "checkpoint",
    ]
    return pd.DataFrame(rows, columns=columns)


def _row(trial: Mapping[Any, Any], owners: Mapping[str, str]) -> dict[str, Any]:
    tags, run_id = trial["tags"], trial["run_id"]
    trainer = tags.get("fcos.trained_by", "")
    dirty = " (dirty)" if tags.get("fcos.git_dirty", "").lower() == "true" else ""
    digest = tags.get("fcos.checkpoint_sha256", "")
    return {
        "arm": trial["arm"],
        "seed": trial["seed"],
        "status": trial["status"].lower() + (", superseded" if trial["superseded"] else ""),
        "run_id": run_id,
        "trained_by": "itself" if trainer == run_id else owners.get(trainer, _elsewhere(trainer, tags)),
        "commit": tags.get("fcos.git_commit", "") + dirty,
        "data": f"{tags.get('fcos.data', '')} {tags.get('fcos.data_digest', '')}".strip(),
        "identity": tags.get("fcos.identity", ""),
        "hardware": tags.get("fcos.hardware", ""),
        "checkpoint": tags.get("fcos.checkpoint", "") + (f" sha256 {digest}" if digest else ""),
    }


def _elsewhere(trainer: str, tags: Mapping[str, str]) -> str:
    sweep = tags.get("fcos.trained_in", "")
    return f"{trainer} of {sweep}" if sweep else trainer


def unfinished(values: pd.DataFrame) -> pd.DataFrame:
    """arm, seed, state, reason, run_id of every planned trial that gives no number, one row each."""
    trials = values.drop_duplicates(["arm", "seed"]).set_index(["arm", "seed"])
    has_value = values.groupby(["arm", "seed"])["value"].count() > 0
    rows = [
        {
            "arm": arm,
            "seed": seed,
            "state": "finished without the metrics" if row["status"] == "FINISHED" else str(row["status"]).lower(),
            "reason": row["failure"],
            "run_id": row["run_id"],
        }
        for (arm, seed), row in trials.iterrows()
        if not has_value[(arm, seed)]
    ]
    return pd.DataFrame(rows, columns=["arm", "seed", "state", "reason", "run_id"])


def shared_trainings(sweep: Sweep) -> list[str]:
    """Which arms are inference settings of another arm's training, in words."""
    trials = sweep.current
    arm_of = dict(zip(trials["run_id"], trials["arm"], strict=True))
    owners = {
        (arm, arm_of.get(tags.get("fcos.trained_by", ""), ""))
        for arm, run_id, tags in zip(trials["arm"], trials["run_id"], trials["tags"], strict=True)
        if tags.get("fcos.trained_by", run_id) != run_id
    }
    lines = [
        f"{arm} is evaluated on the weights that {owner} trained: between the two only inference differs."
        for arm, owner in sorted(owners)
        if owner and owner != arm
    ]
    elsewhere = sorted({arm for arm, owner in owners if not owner})
    if elsewhere:
        lines.append(f"Trials of {join_words(elsewhere)} reuse trainings of other sweeps.")
    return lines


def differences_in_provenance(trials: pd.DataFrame) -> list[str]:
    """What ought to be equal in all finished trials of a comparison and is not, in words."""
    found = []
    for tag, words in SHARED_TAGS.items():
        distinct = sorted({tags.get(tag, "unknown") for tags in trials["tags"]})
        if len(distinct) > 1:
            found.append(f"The trials come from {len(distinct)} {words}: {join_words(distinct)}.")
    dirty = sum(tags.get("fcos.git_dirty", "").lower() == "true" for tags in trials["tags"])
    if dirty:
        found.append(f"{format_count(dirty, 'trial')} ran on code with uncommitted changes.")
    return [*found, *_numbers_of_workers(trials)]


def _numbers_of_workers(trials: pd.DataFrame) -> list[str]:
    """Which trials were trained by how many workers, where that is not the same for all from first step to last."""
    groups: dict[str, list[str]] = {}
    reasons: dict[str, None] = {}
    for trial in trials.to_dict("records"):
        if (number := trial["tags"].get("fcos.workers")) is not None:
            groups.setdefault(number, []).append(f"{trial['arm']} seed {trial['seed']}")
            # Runs of older versions do not have it.
            reasons |= dict.fromkeys(filter(None, [trial["tags"].get("fcos.workers_decide", "")]))
    if len(groups) < 2 and all(number.isdecimal() for number in groups):
        return []
    counts = "; ".join(f"{number} ({join_words(names)})" for number, names in sorted(groups.items()))
    because = f", but {' and '.join(reasons)}, so that the number matters" if reasons else ""
    return [f"Numbers of workers: {counts}. Batch size and learning rate are the same{because}."]


def versions(sweep: Sweep) -> list[tuple[str, dict[str, str]]]:
    """(trials, package -> version), one entry for each distinct set among the trials that count."""
    groups: dict[str, list[str]] = {}
    for trial in sweep.current.itertuples():
        content = read_artifact(sweep.uri, str(trial.run_id), "versions.json")
        text = '{"versions.json": "missing"}' if content is None else content.decode("utf-8", "replace")
        groups.setdefault(text, []).append(f"{trial.arm} seed {trial.seed}")
    return [("all trials" if len(groups) == 1 else join_words(trials), _flat(text)) for text, trials in groups.items()]


def _flat(text: str) -> dict[str, str]:
    try:
        values = json.loads(text)
    except ValueError:
        return {"versions.json": "cannot be read"}
    return {str(key): str(value) for key, value in values.items()} if isinstance(values, dict) else {"": str(values)}
