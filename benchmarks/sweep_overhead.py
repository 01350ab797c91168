"""What orchestration adds to eight short trainings: python benchmarks/sweep_overhead.py

Peer: a bare Python loop that calls `fcos.training_run.run` in one process, one training after the other, without Ray,
MLflow and report. The sweep runs the same trainings one at a time (cluster.concurrent=1), then as many as fit. Results
must be equal. Prints seconds, ratios, and where the sweep's time goes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ARMS = ("none", "branch")


@dataclass(frozen=True)
class Timed:
    """Seconds of a whole sweep: until the first training starts, until the last one ends, and after it.

    table: of those after it, until the report's table is printed.
    """

    before: float
    training: float
    after: float
    table: float

    @property
    def whole(self) -> float:
        return self.before + self.training + self.after


def settings(steps: int, seeds: int, folder: Path) -> list[str]:
    """Return the overrides that both get."""
    return [
        "+experiment=ablation_centerness",
        f"experiment.seeds={list(range(seeds))}".replace(" ", ""),
        f"schedule.steps={steps}",
        f"schedule.warmup_steps={steps // 4}",
        f"data.cache_dir={folder / 'cache'}",
    ]


def run_bare(arguments: list[str]) -> None:
    """Run the loop, in a process of its own; it prints each training's AP."""
    import torch

    from fcos.runtime import LocalRuntime
    from fcos.training_run import run
    from orchestration.config.compose import compose
    from orchestration.config.overrides import check_overrides
    from orchestration.experiment.trials import arm_configs

    torch.set_num_threads(1)
    lab = compose(check_overrides(arguments))
    assert lab.experiment is not None
    configs = arm_configs(lab.training, lab.experiment)
    for seed in lab.experiment.seeds:
        for arm in ARMS:
            with tempfile.TemporaryDirectory() as folder:
                runtime = LocalRuntime(Path(folder), torch.device("cpu"))
                summary = run(configs[arm].model_copy(update={"seed": seed}), runtime)
            print(json.dumps([arm, seed, summary.metrics[""]["val/AP"]]), flush=True)


def time_bare(arguments: list[str]) -> tuple[float, dict[tuple[str, int], float]]:
    """Return seconds of the loop with its process, and AP by arm and seed."""
    began = time.perf_counter()
    command = [sys.executable, __file__, "--bare", *arguments]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    seconds = time.perf_counter() - began
    return seconds, {(arm, seed): ap for arm, seed, ap in map(json.loads, output.splitlines())}


def time_sweep(arguments: list[str], folder: Path) -> tuple[Timed, dict[tuple[str, int], float]]:
    """Return seconds of a sweep by part, and AP by arm and seed."""
    command = [sys.executable, "-u", "orchestration/sweep.py", *arguments, f"output={folder}"]
    began = time.perf_counter()
    first = last = table = 0.0
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "seed" in line and ":  starts" in line:
                first = first or time.perf_counter()
            elif ":  finished" in line:
                last = time.perf_counter()
            elif line.startswith("ablation_centerness: "):
                table = time.perf_counter()
    if process.returncode:
        raise SystemExit(f"the sweep ended with {process.returncode}")
    from orchestration.trial.files import load_summary

    found = {}
    for file in (folder / "ablation_centerness" / "trials").glob("*/summary.json"):
        summary = load_summary(file.parent)
        for arm in set(ARMS) & set(summary.metrics):
            found[arm, _seed(file.parent)] = summary.metrics[arm]["val/AP"]
    return Timed(first - began, last - first, time.perf_counter() - last, table - last), found


def _seed(trial: Path) -> int:
    plan = json.loads((trial.parent.parent / "plan.json").read_text())
    seeds: dict[str, int] = {each["identity"][:16]: each["seed"] for each in plan["trials"]}
    return seeds[trial.name]


def main() -> None:
    """Measure the loop and both sweeps."""
    parser = argparse.ArgumentParser(description="A sweep against a bare loop.")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments = settings(options.steps, options.seeds, folder)
        # Draws and decodes the data, which neither should pay for.
        command = [sys.executable, "orchestration/sweep.py", *arguments, "dry_run=true", f"output={folder}"]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        bare, expected = time_bare(arguments)
        print(f"bare loop, {len(expected)} trainings of {options.steps} steps: {bare:.1f} s")
        for what, more in (("one at a time", ["cluster.concurrent=1"]), ("as many as fit", [])):
            timed, found = time_sweep([*arguments, *more], folder / what.replace(" ", "_"))
            if found != expected:
                raise SystemExit(f"results differ: {found} and {expected}")
            print(
                f"sweep, {what}: {timed.whole:.1f} s, {timed.whole / bare:.2f} times the loop; "
                f"{timed.before:.1f} s to the first training (imports, plan, Ray), {timed.training:.1f} s of "
                f"trainings, {timed.table:.1f} s from the last to the table (Ray's end, tracking, report), "
                f"{timed.after:.1f} s to the end (figures, pages)"
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--bare"]:
        run_bare(sys.argv[2:])
    else:
        main()
