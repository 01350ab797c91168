"""An experiment from one line to its report: python orchestration/sweep.py +experiment=ablation_centerness

From Python: `from orchestration import sweep` and `sweep.run_sweep("+experiment=ablation_centerness")` (docs/api.md).
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestration.cli.event_stream import EventStream
    from orchestration.sweep_process import run_sweep

__all__ = ["cli", "main", "run_sweep"]

PURPOSE = "Train every arm of an experiment with every seed, and report what it shows."
EXAMPLES = (
    "list center-ness",
    "show ablation_centerness",
    "+experiment=ablation_centerness",
    "+experiment=ablation_centerness dry_run=true",
    "+experiment=ablation_centerness schedule.steps=600 experiment.seeds=[0,1] name=shorter",
    "+experiment=search_fcos search=tpe_asha",
    "+experiment=ablation_centerness data=coco data.root=/data/coco schedule=paper_1x model=fcos_v1_r50 "
    "cluster=many_gpus",
)


def __getattr__(name: str) -> Any:
    """Import run_sweep where it is used first: the command itself does without it."""
    if name != "run_sweep":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from orchestration.sweep_process import run_sweep

    return run_sweep


def cli() -> int:
    """Run the command `fcos-sweep`; returns the exit code."""
    from orchestration.cli.entry import run_entry
    from orchestration.config.overrides import help_text

    help_of = partial(help_text, "sweep", PURPOSE, EXAMPLES)
    # Neither word is one of a sweep, as those are settings; a folder of --config-dir may be named so.
    if {"list", "show"} & set(sys.argv[1:]):
        from orchestration.cli.experiments import requests_text, show_experiments

        if requests_text(sys.argv[1:]):
            return run_entry(sys.argv[1:], show_experiments, help_of, json="none")
    return run_entry(sys.argv[1:], main, help_of)


def main(arguments: Sequence[str], stream: "EventStream") -> int:
    """Plan, train, track and report; returns the exit code."""
    from orchestration.cli.command_line import compose_command_line

    # What only a plan needs, and then what only trainings need, is imported after what may refuse the command.
    line = compose_command_line(arguments)

    from orchestration.cli.console import Output
    from orchestration.cli.entry import OK
    from orchestration.planning.make_plan import make_plan
    from orchestration.planning.prepare import prepare_command

    output = Output.of(stream)
    prepared = prepare_command(line, make_plan, output)
    if prepared is None:
        return OK

    from fcos.storage.store_conventions import Artifact
    from orchestration.driver.bucket_steps import locked_output
    from orchestration.driver.subprocesses.report_process import ReportProcess
    from orchestration.driver.sweep_run import SweepRun
    from orchestration.experiment.weights import fetch_weights

    lab, plan = prepared.lab, prepared.plan
    # The points of a search may not be drawn yet.
    fetch_weights([lab.training, *plan.arms.values()] if plan.search else plan.arms.values(), output.console)
    on_workers = lab.cluster.workers > 1 or lab.cluster.ray_train == "always"
    with locked_output(prepared, output):
        command = report_command(plan.name, plan.folder / Artifact.REPORT, json=stream.is_open)
        report = ReportProcess(command, stream) if lab.report else None
        return SweepRun(prepared, output, on_workers=on_workers).run(report)


def report_command(sweep: str, output: Path, *, json: bool) -> list[str]:
    """Return the command of the process in which analysis writes a sweep's report."""
    from orchestration.cli.event_stream import JSON_OPTION

    # -P: a folder `analysis` where the command was started is not ours.
    command = [sys.executable, "-P", "-m", "analysis.report", sweep, "--output", str(output), "--wait"]
    return [*command, JSON_OPTION] if json else command


if __name__ == "__main__":
    sys.exit(cli())
