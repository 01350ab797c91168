"""One run through a Ray Train TorchTrainer: python orchestration/train.py"""

import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestration.cli.event_stream import EventStream

PURPOSE = "Train one configuration once."
EXAMPLES = (
    "",
    "data=auto data.root=/data/photos",
    "seed=1 schedule.steps=600 name=shorter",
    "cluster.workers=2",
    "data=coco data.root=/data/coco schedule=paper_1x model=fcos_v2_r50 cluster=many_gpus",
)


def cli() -> int:
    """Run the command `fcos-train`; returns the exit code."""
    from orchestration.cli.entry import run_entry
    from orchestration.config.overrides import help_text

    return run_entry(sys.argv[1:], main, partial(help_text, "train", PURPOSE, EXAMPLES))


def main(arguments: Sequence[str], stream: "EventStream") -> int:
    """Train one configuration with one seed; returns the exit code."""
    from orchestration.cli.command_line import compose_command_line

    line = compose_command_line(arguments)

    from orchestration.cli.console import Output
    from orchestration.cli.entry import OK
    from orchestration.planning.make_plan import make_single_plan
    from orchestration.planning.prepare import prepare_command

    output = Output.of(stream)
    prepared = prepare_command(line, make_single_plan, output)
    if prepared is None:
        return OK

    from orchestration.driver.bucket_steps import locked_output
    from orchestration.driver.sweep_run import SweepRun
    from orchestration.experiment.weights import fetch_weights
    from orchestration.planning.table import show_metrics

    plan = prepared.plan
    fetch_weights(plan.arms.values(), output.console)
    with locked_output(prepared, output):
        code = SweepRun(prepared, output, on_workers=True).run(None)
    show_metrics(output.console, plan)
    return code


if __name__ == "__main__":
    sys.exit(cli())
