"""Train one seed of a published sweep again and compare its result: python orchestration/retrain.py FILE"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestration.cli.console import Output
    from orchestration.planning.prepare import Prepared
    from orchestration.planning.repeats.published_training import Original, Retrained

# Keys, groups and sections that decide where and how a training runs.
ALLOWED = ("output", "name", "cluster", "tracking", "budget", "dry_run")


def cli() -> int:
    """Run the command `fcos-retrain`; returns the exit code."""
    from orchestration.cli.entry import run_entry

    return run_entry(
        sys.argv[1:], lambda arguments, _: main(arguments), lambda _: make_parser().format_help(), json="none"
    )


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="retrain.py",
        description="Train one seed of a published sweep again: equal to the last digit on the same processor, within "
        "the spread of its seeds elsewhere.",
    )
    parser.add_argument("file", help="the zip file that publish.py wrote")
    parser.add_argument("--arm", help="the arm (default: the first of the lowest seed)")
    parser.add_argument("--seed", type=int, help="the seed (default: the lowest)")
    parser.add_argument("--data-root", help="where the data are here; drawn shapes need none")
    parser.add_argument("--weights", help="the weights that it begins from, where the archive names a file")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="of the command: output, name, cluster.*, tracking.*, budget.*, dry_run",
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """Train the configuration of an archive once and compare; returns 0 if it holds, 1 if not."""
    from pathlib import Path

    from fcos.published.crate import open_archive
    from orchestration.cli.command_line import compose_command_line
    from orchestration.cli.console import Output
    from orchestration.cli.entry import OK
    from orchestration.cli.event_stream import SILENT
    from orchestration.planning.make_plan import make_single_plan
    from orchestration.planning.prepare import prepare_command
    from orchestration.planning.repeats.published_training import LocalPaths, find_training, make_lab

    options, output = make_parser().parse_args(arguments), Output.of(SILENT)
    check_allowed(options.overrides)
    with open_archive(Path(options.file)) as folder:
        paths = LocalPaths(options.data_root, options.weights)
        original = find_training(folder, options.arm, options.seed, paths)
    words = [*options.overrides, "reuse=false", "retrain_reason=verification of a published sweep"]
    line = compose_command_line(words)
    prepared = prepare_command(line, make_single_plan, output, adapt=lambda lab: make_lab(lab, original))
    return OK if prepared is None else _train_and_compare(prepared, original, output)


def _train_and_compare(prepared: "Prepared", original: "Original", output: "Output") -> int:
    from orchestration.cli.entry import TRAINING_FAILED
    from orchestration.cluster.resources import hardware_device
    from orchestration.driver.bucket_steps import locked_output
    from orchestration.driver.sweep_run import SweepRun
    from orchestration.experiment.provenance import hardware
    from orchestration.experiment.weights import fetch_weights
    from orchestration.planning.repeats.published_training import compare_results

    lab, plan = prepared.lab, prepared.plan
    fetch_weights(plan.arms.values(), output.console)
    with locked_output(prepared, output):
        code = SweepRun(prepared, output, on_workers=lab.cluster.workers > 1).run(None)
    summary = plan.summary_of(plan.trials[0])
    if summary is None:
        return max(code, TRAINING_FAILED)
    metrics = next(iter(summary.metrics.values()))
    result = compare_results(original, metrics, plan, hardware(hardware_device(lab.cluster)))
    _print_result(result, output)
    return code if result.holds else max(code, TRAINING_FAILED)


def _print_result(result: "Retrained", output: "Output") -> None:
    for number, line in enumerate(result.lines):
        word = "" if number else "retrained" if result.holds else "DIFFERS"
        output.console.print(f"{word:<12}{line}", highlight=False, markup=False, soft_wrap=True)


def check_allowed(overrides: Sequence[str]) -> None:
    """Raise ConfigError for overrides of anything but where and how the training runs."""
    from fcos.errors import ConfigError

    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key.split("@")[0].split(".")[0] not in ALLOWED:
            raise ConfigError(f"{override}: the archive decides it; leave it out. Of the command: {', '.join(ALLOWED)}")


if __name__ == "__main__":
    sys.exit(cli())
