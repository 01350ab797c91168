"""Archives of one trial or of none, written part by part, and what does not belong together in them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from analysis.verification.consistency import find_inconsistencies
from fcos.published.records import ArchiveHeader, PublishedRun
from fcos.published.trials import list_trials

SWEEP, TRIAL = "a" * 32, "b" * 32
HEADER = ArchiveHeader(sweep="x", run_id=SWEEP, laboratory="", resamples=0, version="0")
DIGEST = "d" * 64
RunState = Literal["FINISHED", "FAILED"]


def write_run(path: Path, run_id: str, params: Mapping[str, str], status: RunState = "FINISHED", **tags: str) -> None:
    path.mkdir(parents=True)
    run = PublishedRun(run_id=run_id, name="a", status=status, start=0, end=1, tags=tags, params=dict(params))
    (path / "run.json").write_text(run.model_dump_json())


TAGS = {
    "fcos.kind": "trial",
    "fcos.arm": "a",
    "fcos.seed": "1",
    "fcos.code": "c",
    "fcos.train_identity": "i",
    "fcos.identity": "ia",
    "mlflow.parentRunId": SWEEP,
}


def write_archive(
    folder: Path,
    planned: list[dict[str, Any]],
    *,
    params: Mapping[str, str] = {},
    config: Mapping[str, Any] = {},
    arms: Mapping[str, Any] = {},
    tags: Mapping[str, str] = {},
    status: RunState = "FINISHED",
    plan: Mapping[str, Any] = {},
) -> None:
    """Write an archive with one trial, of arm a and seed 1.

    tags: its others, named without their prefix. plan: what plan.json has beside the planned trainings.
    """
    write_run(folder / "sweep", SWEEP, {})
    whole = {"code": "c", "arms": {"a": {}, "b": {}}, "trials": planned, **plan}
    (folder / "sweep" / "plan.json").write_text(json.dumps(whole))
    (folder / "sweep" / "experiment.json").write_text(json.dumps({"name": "x", "arms": arms}))
    path = folder / "trials" / TRIAL
    write_run(path, TRIAL, params, status, **TAGS | {f"fcos.{name}": value for name, value in tags.items()})
    (path / "config.json").write_text(json.dumps(config))


def find_problems(folder: Path) -> list[str]:
    return find_inconsistencies(folder, HEADER, list_trials(folder))


# Two arms with a training each, and two seeds.
PLANNED = [
    {"identity": identity, "seed": seed, "arms": {arm: f"{identity}{arm}"}}
    for identity, seed, arm in (("i", 1, "a"), ("j", 1, "b"), ("k", 2, "a"), ("l", 2, "b"))
]
