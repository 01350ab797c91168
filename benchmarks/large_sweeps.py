"""How a sweep's driver, store and report grow with its trainings: python benchmarks/scale.py

    python benchmarks/scale.py --quick                       100 and 300 trainings, some minutes
    python benchmarks/scale.py --results FOLDER [--sizes 100 1000 10000] [--scenarios arms rounds search race tune]
    python benchmarks/scale.py --results FOLDER --profile "arms 1000 report"
    python benchmarks/scale.py --results FOLDER --disk       what real trainings of two steps leave, and how 200 would
    python benchmarks/scale.py --results FOLDER --write      puts what was measured into docs/benchmarks.md

Planner, recorder, tracking store, searchers, race, reuse and report are those of orchestration/ and analysis/;
trainings only report points, in virtual time, on 1,000 slots, and fail at given rates (scale_trainings.py). Each
command runs in a process of its own. One that takes longer than --limit is ended, and not tried with more trainings.
With --results what the folder holds is not measured again.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from scale_commands import NAME, SCENARIOS, Command, Scenario, Workspace, bytes_below
from scale_process import Measurement, Request, import_libraries, run_forked
from scale_table import BEGIN, END, FIGURE, Record, describe, draw, make_text

from fcos.storage.run_folder import CHECKPOINTS

FOLDER = Path(__file__).resolve().parent
DOCUMENT = FOLDER.parent / "docs" / "benchmarks.md"
SIZES: Final = (100, 1000, 10_000)
QUICK_SIZES: Final = (100, 300)
LIMIT_SECONDS: Final = 1800.0
BULK_ABOVE: Final = 1000
# Exit codes of commands of which no training, or some, failed.
CODES: Final = (0, 1)
LAST_LINES: Final = 25
DISK: Final = "disk.json"


@dataclass(frozen=True)
class Options:
    """Trainings at once; seconds that a command may take; number of trainings above which MLflow writes no store."""

    slots: int = 1000
    limit: float = LIMIT_SECONDS
    bulk_above: int = BULK_ABOVE


class CommandFailed(RuntimeError):
    """A command ended with another exit code than those that it may have; the message has its last lines."""


def run_command(workspace: Workspace, command: Command, options: Options) -> Measurement | None:
    """Run a command in a process of its own and return what it took; None where it took longer than the limit."""
    stem = command.name.replace(" ", "_")
    result, log = workspace.folder / f"{stem}.json", workspace.folder / f"{stem}.log"
    request = Request(command.kind, command.words, str(result), options.slots, command.stores, command.fails)
    bulk = command.fails and workspace.count > options.bulk_above
    return run_request(replace(request, bulk=bulk), log, options.limit)


def run_request(request: Request, log: Path, limit: float) -> Measurement | None:
    """Run what is requested; see run_command."""
    code = run_forked(request, log, limit)
    if code is None:
        return None
    measurement = None if code else Measurement(**json.loads(Path(request.result).read_text()))
    if measurement is None or measurement.code not in CODES:
        code = code or (0 if measurement is None else measurement.code)
        raise CommandFailed("\n".join([f"{log}: exit code {code}", *log.read_text().splitlines()[-LAST_LINES:]]))
    return measurement


def measure(workspace: Workspace, options: Options, too_long: set[str]) -> Record:
    """Run the commands of a sweep one after the other, and print what each took.

    too_long: commands that are not tried.
    """
    record = Record(workspace.scenario, workspace.count, {}, {}, [])
    workspace.write_experiment()
    for command in workspace.commands():
        measurement = None
        if command.name not in too_long:
            measurement = run_command(workspace, command, options)
        if measurement is not None:
            record.measured[command.name] = measurement
            show(record, describe(command.name, measurement))
            if command.name == "sweep":
                record.bytes.update(measure_bytes(workspace))
            continue
        record.ended.append(command.name)
        show(record, f"{command.name}: would take, or took, longer than {options.limit:.0f} s")
        if command.name == "sweep":
            # All that follows rests on it.
            record.ended.extend(each.name for each in workspace.commands() if each.name not in record.measured)
            break
    return replace(record, ended=list(dict.fromkeys(record.ended)), imports=import_libraries())


def measure_bytes(workspace: Workspace) -> dict[str, int]:
    """Return the bytes of the store, its artifacts, the plan, and the trainings' folders without checkpoints."""
    sweep, files = workspace.output / NAME, ("mlflow.db", f"{NAME}/plan.json")
    sizes = {name: (workspace.output / name).stat().st_size for name in files if (workspace.output / name).exists()}
    named = {"store": sizes.get(files[0], 0), "plan": sizes.get(files[1], 0)}
    artifacts = bytes_below(workspace.output / "mlartifacts")
    return {**named, "artifacts": artifacts, "trainings": bytes_below(sweep / "trials", [CHECKPOINTS])}


_BEGAN = time.monotonic()


def show(record: Record, text: str) -> None:
    """Print a line with the time since the benchmark began."""
    passed = timedelta(seconds=int(time.monotonic() - _BEGAN))
    print(f"[{passed}] {record.scenario} {record.count}: {text}", flush=True)


def measure_all(options: argparse.Namespace, folder: Path) -> list[Record]:
    """Measure every scenario with each size that the folder does not hold yet."""
    records, how = [], Options(options.slots, options.limit, options.bulk_above)
    for scenario in options.scenarios:
        before: Record | None = None
        for count in sorted(options.sizes):
            path = folder / f"{scenario}_{count}.record.json"
            if not path.exists():
                workspace = Workspace(folder / f"{scenario}_{count}", scenario, count)
                shutil.rmtree(workspace.folder, ignore_errors=True)
                workspace.folder.mkdir(parents=True)
                too_long = find_too_long(before, count, options.limit)
                path.write_text(measure(workspace, how, too_long).to_json())
                if not options.keep:
                    shutil.rmtree(workspace.folder)
            before = Record.from_json(path.read_text())
            records.append(before)
    return records


def find_too_long(before: Record | None, count: int, limit: float) -> set[str]:
    """Return the commands that took longer than the limit with fewer trainings, or would with so many if linearly."""
    if before is None:
        return set()
    longer = {name for name, each in before.measured.items() if each.wall * count / before.count > limit}
    return {*before.ended, *longer}


def read_records(folder: Path) -> list[Record]:
    """Return all that a folder holds, by scenario and size."""
    records = [Record.from_json(path.read_text()) for path in folder.glob("*.record.json")]
    return sorted(records, key=lambda record: (SCENARIOS.index(record.scenario), record.count))


def profile(folder: Path, words: Sequence[str], slots: int, limit: float) -> None:
    """Run a command of a measured sweep once more under cProfile, and print the functions in which its time passes.

    The folder of the sweep is that which --keep left, but for the first commands, which have a new one. What the thread
    of the tracking store does is not in a profile.
    """
    scenario, count, name = words[0], int(words[1]), " ".join(words[2:])
    is_first = name in ("plan", "sweep")
    workspace = Workspace(folder / f"{'profiled_' if is_first else ''}{scenario}_{count}", scenario_of(scenario), count)
    if is_first:
        shutil.rmtree(workspace.folder, ignore_errors=True)
        workspace.folder.mkdir(parents=True)
        workspace.write_experiment()
    command = next(each for each in workspace.commands() if each.name == name)
    result = workspace.folder / f"profile_{name.replace(' ', '_')}.json"
    request = Request(command.kind, command.words, str(result), slots, command.stores, command.fails, profiled=True)
    measurement = run_request(request, result.with_suffix(".log"), limit)
    print("\n".join(["took longer than the limit"] if measurement is None else measurement.profile))


def scenario_of(text: str) -> Scenario:
    """Return the scenario of a name; raises StopIteration where there is none."""
    return next(scenario for scenario in SCENARIOS if scenario == text)


def measure_disk(folder: Path) -> None:
    """Measure what real trainings leave, and keep it in the folder."""
    from scale_disk import measure_kept

    if not (folder / DISK).exists():
        (folder / DISK).write_text(json.dumps(measure_kept(folder / "disk"), indent=1))


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="100 and 300 trainings")
    parser.add_argument("--sizes", type=int, nargs="+", help=f"numbers of trainings (default: {SIZES})")
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--slots", type=int, default=1000, help="trainings that run at once")
    parser.add_argument("--limit", type=float, default=LIMIT_SECONDS, help="seconds after which a command is ended")
    parser.add_argument(
        "--bulk-above", type=int, default=BULK_ABOVE, metavar="N",
        help=f"write stores of more trainings without MLflow's client (scale_store.py; default: {BULK_ABOVE})",
    )  # fmt: skip
    parser.add_argument("--results", type=Path, metavar="FOLDER", help="keep results there, and use what is there")
    parser.add_argument("--keep", action="store_true", help="keep the simulated sweeps too, for --profile")
    parser.add_argument("--profile", metavar="'SCENARIO SIZE COMMAND'", help="profile a command of a kept sweep")
    parser.add_argument("--disk", action="store_true", help="train for two steps and measure what is left")
    parser.add_argument("--write", action="store_true", help="put what the folder holds into docs/benchmarks.md")
    return parser


def main() -> None:
    """Measure, print the tables, and put them with a figure into the document with --write."""
    parser = make_parser()
    options = parser.parse_args()
    if (options.write or options.profile) and options.results is None:
        parser.error("--write, --profile: give the folder of what was measured, --results FOLDER")
    options.sizes = options.sizes or (QUICK_SIZES if options.quick else SIZES)
    with tempfile.TemporaryDirectory() as temporary:
        folder: Path = (options.results or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if options.profile:
            profile(folder, options.profile.split(), options.slots, options.limit)
            return
        if options.disk:
            measure_disk(folder)
        elif not options.write:
            measure_all(options, folder)
        records = read_records(folder)
        disk: Any = json.loads((folder / DISK).read_text()) if (folder / DISK).exists() else None
        text = make_text(records, disk, options.slots)
        print(text)
    if options.write:
        draw(records, FIGURE)
        before, rest = DOCUMENT.read_text().split(BEGIN)
        DOCUMENT.write_text(before + BEGIN + text + END + rest.split(END)[1])
        print(f"written to {DOCUMENT} and {FIGURE}")


if __name__ == "__main__":
    main()
