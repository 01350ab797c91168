"""The learning rate to take, from a test of some hundred steps: python orchestration/lr_range.py"""

import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from fcos.studies.lr_range import RangeTest

PURPOSE = "Let the learning rate grow exponentially over some hundred steps, and draw the loss by rate."
EXAMPLES = (
    "",
    "model=fcos_lite data=bccd data.root=/data/bccd",
    "--steps=100 --low=1e-5 --high=0.1 model=fcos_lite data=bccd data.root=/data/bccd",
)
# Option -> its default.
STEPS, LOW, HIGH = 200, 1e-6, 1.0


def cli() -> int:
    """Run the command `fcos-lr-range`; returns the exit code."""
    from orchestration.cli.entry import run_entry
    from orchestration.config.overrides import help_text

    text = partial(help_text, "lr_range", PURPOSE, EXAMPLES)
    return run_entry(sys.argv[1:], lambda arguments, _: main(arguments), text, json="none")


def main(arguments: Sequence[str]) -> int:
    """Train on this machine while the rate grows; write curve and numbers, and print the rate to take."""
    import torch

    from fcos.device import pick_device
    from fcos.errors import ConfigError
    from fcos.runtime import LocalRuntime
    from fcos.studies.lr_range import run_range_test
    from orchestration.cli.console import OutputConsole
    from orchestration.cli.entry import OK
    from orchestration.config.compose import compose_with_choices
    from orchestration.config.overrides import check_overrides, split_config_dir
    from orchestration.experiment.weights import fetch_weights, pin_weights
    from orchestration.planning.table import show_choices

    console = OutputConsole()
    steps, low, high, others = split_options(arguments)
    own, overrides = split_config_dir(others)
    composed = compose_with_choices(check_overrides(overrides, own), own)
    if composed.choices:
        show_choices(console, composed.choices)
    lab = composed.lab
    if lab.is_in_bucket:
        raise ConfigError(f"output={lab.output}: the curve and its numbers go to a folder of this machine; give one")
    config = pin_weights(lab.training)
    fetch_weights([config], console)
    torch.set_num_threads(lab.cluster.cpus_per_worker)
    folder = lab.folder / (lab.name or "lr_range")
    runtime = LocalRuntime(folder, pick_device(lab.cluster.device))

    def show(step: int, rate: float, loss: float) -> None:
        if step % max(1, steps // 20) == 0:
            console.print(f"step {step:>4} of {steps}   rate {rate:.2e}   loss {loss:.3f}", highlight=False)

    test = run_range_test(config, runtime, steps=steps, low=low, high=high, progress=show)
    _print_result(console, test)
    console.print(write_results(test, folder), highlight=False, soft_wrap=True, markup=False)
    return OK


def write_results(test: "RangeTest", folder: "Path") -> str:
    """Write the numbers, and then the curve; return the file of the curve in words, or why there is none."""
    import json

    from fcos.drawing.canvas import picture_or_note
    from fcos.studies.lr_range import draw_range_test

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lr_range.json").write_text(json.dumps({"rates": test.rates, "losses": test.losses}, indent=1))
    picture = folder / "lr_range.png"
    _, note = picture_or_note(partial(draw_range_test, test, picture), str(picture))
    return note or f"written: {picture}"


def _print_result(console: "Console", test: "RangeTest") -> None:
    from fcos.studies.lr_range import BELOW_LOWEST

    console.print(
        f"lowest smoothed loss at {test.lowest:.2g}; take schedule.lr={test.suggestion:.2g}, a", highlight=False
    )
    console.print(
        f"{BELOW_LOWEST:g}th of it, as the highest rate of a schedule with warm-up and decay (fastai's rule; "
        "the test is that of Smith 2015, arXiv 1506.01186)",
        highlight=False,
        soft_wrap=True,
    )
    if not test.blew_up:
        console.print(f"the loss has not blown up yet by {test.rates[-1]:.2g}: give a higher --high", highlight=False)


def split_options(arguments: Sequence[str]) -> tuple[int, float, float, list[str]]:
    """Return steps, lowest and highest rate of --steps, --low and --high, and all other arguments.

    Raises ConfigError for a value that is no number.
    """
    from fcos.errors import ConfigError

    values, others = {"--steps": float(STEPS), "--low": LOW, "--high": HIGH}, []
    for argument in arguments:
        option, _, text = argument.partition("=")
        if option not in values:
            others.append(argument)
            continue
        try:
            values[option] = float(text)
        except ValueError:
            raise ConfigError(f"{argument}: give a number, such as {option}={values[option]:g}") from None
    return int(values["--steps"]), values["--low"], values["--high"], others


if __name__ == "__main__":
    sys.exit(cli())
