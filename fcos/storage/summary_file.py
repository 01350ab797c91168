"""summary.json of a run's folder: it is there once the run is finished, and holds its identity and its summary."""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from fcos.storage.files import write_atomically
from fcos.storage.run_folder import SUMMARY, RunSummary


class FinishedRun(BaseModel):
    """The content of summary.json; keys that this version does not know are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    identity: str
    summary: RunSummary


def write_finished_run(folder: Path, run: FinishedRun) -> None:
    """Write summary.json whole or not at all: the run is finished from then on."""
    write_atomically(folder / SUMMARY, json.dumps(run.model_dump(mode="json"), indent=1))


def read_finished_run(folder: Path) -> FinishedRun:
    """Return the content of summary.json; raises OSError or ValueError where there is none that can be read."""
    try:
        return FinishedRun.model_validate(json.loads((folder / SUMMARY).read_text()))
    except RecursionError:
        raise ValueError(f"{folder / SUMMARY}: is nested too deeply") from None
