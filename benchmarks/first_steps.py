"""What sharing saves of an ablation: python benchmarks/first_steps.py [+experiment=ablation_weight_average] [key=value]

Peer: each arm trained from the start. Ours: one training for arms that differ in what is evaluated alone, and first
steps from the training that has them (share_prefixes). Both train in this process, on one thread, in turns, by
`fcos.training_run.run`; metrics must be equal. Seconds are those of the processor, so that what else runs on the
machine does not count; evaluations and checkpoints are in them, starting a process is not.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console

from fcos.runtime import LocalRuntime
from fcos.storage.run_folder import ProgressRecord
from fcos.training_run import run
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.experiment.data import prepare_data
from orchestration.experiment.prefixes import Prefixes
from orchestration.experiment.trials import Trial, plan_trials
from orchestration.planning.first_steps.begin_from import begin_from
from orchestration.planning.first_steps.planned_prefixes import find_prefixes
from orchestration.planning.make_plan import make_plan
from orchestration.planning.plan import Plan
from orchestration.trial import files

Metrics = dict[str, dict[str, float]]
DECAY = "+experiment=ablation_decay"


def plan_of(words: list[str], output: Path) -> Plan:
    """Return the plan of one seed."""
    own = [] if any(word.startswith("+experiment=") for word in words) else [DECAY]
    lab = compose(check_overrides([*own, "experiment.seeds=[0]", *words, f"output={output}", "data.num_workers=0"]))
    return make_plan(lab, lambda config: prepare_data(config, Console(quiet=True), 1))


def train(trial: Trial, folder: Path, prefixes: Prefixes) -> tuple[float, int, Metrics]:
    """Train where another one has left a checkpoint; return seconds of the processor, steps and metrics by arm."""
    files.begin_training(folder)
    begun = time.process_time()
    step = begin_from(prefixes.of(trial), trial, folder)

    def report(record: ProgressRecord) -> None:
        files.append_points(folder, record.points)

    runtime = LocalRuntime(folder, torch.device("cpu"), report)
    summary = run(trial.config, runtime, trial.arms, forks=prefixes.forks(trial))
    return time.process_time() - begun, trial.config.schedule.steps - step, summary.metrics


def iterate_apart(plan: Plan) -> Iterator[Trial]:
    """Yield a training for each arm."""
    for arm, config in plan.arms.items():
        (digest,) = {trial.data_digest for trial in plan.trials if arm in trial.arms}
        yield from plan_trials({arm: config}, (0,), plan.provenance, {arm: digest})


def measure(words: list[str], output: Path) -> bool:
    """Print steps and seconds of both; return whether their metrics are equal."""
    plan = plan_of(words, output)
    prefixes = find_prefixes(plan, plan.trials, {})
    ways = {
        "apart": [(trial, output / "apart" / "-".join(trial.arms), Prefixes()) for trial in iterate_apart(plan)],
        "shared": [(trial, plan.folder_of(trial), prefixes) for trial in plan.trials],
    }
    seconds, steps = {"shared": 0.0, "apart": 0.0}, {"shared": 0, "apart": 0}
    found: dict[str, Metrics] = {"shared": {}, "apart": {}}
    # In turns, as a processor may become faster or slower meanwhile.
    for number in range(max(map(len, ways.values()))):
        for way, trials in ways.items():
            for trial, folder, begins in trials[number : number + 1]:
                taken, trained, metrics = train(trial, folder, begins)
                seconds[way] += taken
                steps[way] += trained
                found[way] |= metrics
                print(f"  {way}: {trial.label}: {trained} steps, {taken:.1f} s", flush=True)
    for what, of, form in (("steps", steps, "d"), ("seconds", seconds, ".1f")):
        ratio = of["shared"] / of["apart"]
        print(f"{what}: {of['shared']:{form}} of {of['apart']:{form}}, {100 * ratio:.1f} %")
    equal = found["shared"] == found["apart"]
    print(f"metrics: {'equal' if equal else 'NOT EQUAL'}")
    return equal


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="words of the sweep's command line")
    words = parser.parse_args().words
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        return 0 if measure(words, Path(folder)) else 1


if __name__ == "__main__":
    sys.exit(main())
