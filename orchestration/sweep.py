"""An experiment from one line to its report: python orchestration/sweep.py +experiment=ablation_centerness"""

import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestration.cli.event_stream import EventStream

PURPOSE = "Train every arm of an experiment with every seed, and report what it shows."
EXAMPLES = (
    "+experiment=ablation_centerness",
    "+experiment=ablation_centerness dry_run=true",
    "+experiment=ablation_centerness schedule.steps=600 experiment.seeds=[0,1] name=shorter",
    "+experiment=search_fcos search=tpe_asha",
    "+experiment=ablation_centerness data=coco data.root=/data/coco schedule=paper_1x model=fcos_v1_r50 "
    "cluster=many_gpus",
)


def cli() -> int:
    """Run the command `fcos-sweep`; returns the exit code."""
    from orchestration.cli.entry import run_entry
    from orchestration.config.overrides import help_text

    return run_entry(sys.argv[1:], main, partial(help_text, "sweep", PURPOSE, EXAMPLES))


def main(arguments: Sequence[str], stream: "EventStream") -> int:
    """Plan, train, track and report; returns the exit code."""
    from fcos.storage.store_conventions import Artifact
    from orchestration.cli.console import Output
    from orchestration.cli.entry import OK
    from orchestration.cli.lock import lock_folder
    from orchestration.driver.sweep_run import SweepRun
    from orchestration.experiment.weights import fetch_weights
    from orchestration.planning.make_plan import make_plan
    from orchestration.planning.prepare import prepare_command

    output = Output.of(stream)
    prepared = prepare_command(arguments, make_plan, output)
    if prepared is None:
        return OK
    lab, plan = prepared.lab, prepared.plan
    # The points of a search may not be drawn yet.
    fetch_weights([lab.training, *plan.arms.values()] if plan.search else plan.arms.values(), output.console)
    on_workers = lab.cluster.workers > 1 or lab.cluster.ray_train == "always"
    with lock_folder(plan.folder, datetime.now().astimezone().isoformat(timespec="seconds")):
        report = partial(write_report, plan.name, plan.folder / Artifact.REPORT, stream) if lab.report else None
        return SweepRun(prepared, output, on_workers=on_workers).run(report)


def write_report(sweep: str, output: Path, stream: "EventStream", tracking_uri: str) -> bool:
    """Let analysis write its report in a process of its own, which prints the table and the path, or an event."""
    from fcos.streams import BROKEN_PIPE
    from orchestration.cli.event_stream import JSON_OPTION

    # -P: a folder `analysis` where the command was started is not ours.
    command = [sys.executable, "-P", "-m", "analysis.report", sweep, "--output", str(output)]
    # Not as an argument: an address may hold a password, and everybody can list arguments.
    environment = {**os.environ, "MLFLOW_TRACKING_URI": tracking_uri}
    if stream.is_open:
        command.append(JSON_OPTION)
    # Ctrl-C reaches this process alone, which ends the report without a message from there.
    done = subprocess.run(
        command, env=environment, check=False, process_group=0, stdout=subprocess.PIPE if stream.is_open else None
    )
    if stream.is_open and not _emit_report(done.stdout, stream):
        return False
    # Whoever read standard output may be gone; the report is written before it is shown.
    return done.returncode in (0, BROKEN_PIPE)


def _emit_report(output: bytes, stream: "EventStream") -> bool:
    """Emit the one event that the report printed, an error as a note; return whether it is a report.

    An error has the exit code of the report's process, which is not that of the sweep.
    """
    from pydantic import TypeAdapter, ValidationError

    from fcos.storage.events import ErrorEvent, ReportEvent
    from orchestration.cli.event_records import NoteEvent

    try:
        event: ReportEvent | ErrorEvent = TypeAdapter(ReportEvent | ErrorEvent).validate_json(output)
    except ValidationError:
        return False
    if isinstance(event, ErrorEvent):
        stream.emit(NoteEvent(text="\n".join(f"report: {problem.text}" for problem in event.problems)))
        return False
    stream.emit(event)
    return True


if __name__ == "__main__":
    sys.exit(cli())
