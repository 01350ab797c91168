"""How a sweep's driver, store and report grow with its trainings: python benchmarks/large_sweeps.py

    python benchmarks/large_sweeps.py --sizes 100 300                      some minutes; the tables are printed
    python benchmarks/large_sweeps.py --results FOLDER [--sizes 100 1000 10000] [--scenarios arms rounds search race]
    python benchmarks/large_sweeps.py --results FOLDER --keep --profile    a .pstats of each command beside its sweep
    python benchmarks/large_sweeps.py --results FOLDER --disk              what 200 real trainings of two steps leave
    python benchmarks/large_sweeps.py --results FOLDER --write             writes docs/benchmarks.md and its figure

Planner, recorder, tracking store, searchers, race, leases, reuse and report are those of orchestration/ and analysis/;
trainings only report points, in virtual time, on 1,000 slots, and fail at given rates (scale/simulated_training.py).
Each command runs in a process of its own. One that takes longer than --limit is ended, and not tried with more
trainings. With --results what the folder holds is not measured again.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from scale.disk import TRAININGS, make_disk_table, measure_kept
from scale.figure import draw
from scale.measured_process import Measurement, run_forked
from scale.simulated_command import Request
from scale.sweeps import NAME, SCENARIOS, Command, Workspace
from scale.tables import Record, describe, make_text

from fcos.storage.run_folder import CHECKPOINTS

FOLDER = Path(__file__).resolve().parent
DOCUMENT = FOLDER.parent / "docs" / "benchmarks.md"
FIGURE = FOLDER.parent / "docs" / "images" / "large_sweeps.svg"
BEGIN, END = "<!-- large sweeps: begin -->\n", "<!-- large sweeps: end -->\n"
DISK_BEGIN, DISK_END = "<!-- disk: begin -->\n", "<!-- disk: end -->\n"
SIZES: Final = (100, 1000, 10_000)
# Exit codes of commands of which no training, or some, failed.
CODES: Final = (0, 1)
LAST_LINES: Final = 25


class CommandFailed(RuntimeError):
    """A command ended with another exit code than those that it may have; the message has its last lines."""


@dataclass(frozen=True)
class Benchmark:
    """How commands are measured: trainings at once, and seconds that a command may take."""

    slots: int = 1000
    limit: float = 1800.0
    # Number of trainings above which stores are written without MLflow's client.
    direct_above: int = 1000
    profiled: bool = False
    # Commands that are not measured.
    left_out: Sequence[str] = field(default_factory=list)

    def run(self, workspace: Workspace, command: Command) -> Measurement | None:
        """Run a command in a process of its own; return what it took, None where it took longer than the limit.

        One that was measured before this benchmark was stopped is not run again.
        """
        stem = command.name.replace(" ", "_")
        result, log = workspace.folder / f"{stem}.json", workspace.folder / f"{stem}.log"
        request = Request(
            command.kind, command.words, str(result), self.slots, command.stores, command.fails,
            command.fails and self.is_direct(workspace), self.profiled,
        )  # fmt: skip
        code = 0 if result.exists() else run_forked(request, log, self.limit)
        if code is None:
            return None
        measurement = Measurement(code) if code else Measurement(**json.loads(result.read_text()))
        if measurement.code not in CODES or code:
            lines = log.read_text().splitlines()[-LAST_LINES:]
            raise CommandFailed("\n".join([f"{log}: exit code {measurement.code}", *lines]))
        return measurement

    def is_direct(self, workspace: Workspace) -> bool:
        """Return whether a store is written without MLflow's client."""
        return workspace.count > self.direct_above

    def measure(self, workspace: Workspace, too_long: set[str]) -> Record:
        """Run the commands of a sweep one after the other and print what each took; those `too_long` are left out."""
        record = Record(workspace.scenario, workspace.count, {}, {}, direct=self.is_direct(workspace))
        workspace.write_experiment()
        for command in workspace.commands():
            if command.name in self.left_out:
                continue
            measurement = None if command.name in too_long else self.run(workspace, command)
            if measurement is None:
                record.ended.append(command.name)
                show(record, f"{command.name}: took, or would take, longer than {self.limit:.0f} s")
                if command.name == "sweep":
                    # All that follows rests on it.
                    break
                continue
            record.measured[command.name] = measurement
            show(record, describe(command.name, measurement))
            if command.name == "sweep":
                record.bytes.update(measure_bytes(workspace.output))
        return record


def measure_bytes(output: Path) -> dict[str, int]:
    """Return the bytes that a sweep leaves, by kind of file."""
    return {
        "store": bytes_below(output / "mlflow.db"),
        "artifacts": bytes_below(output / "mlartifacts"),
        "trainings": bytes_below(output / NAME / "trials"),
        "plan": bytes_below(output / NAME / "plan.json"),
        "leases": bytes_below(output / ".leases"),
    }


def bytes_below(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder but checkpoints."""
    total = path.stat().st_size if path.is_file() else 0
    for root, folders, files in os.walk(path):
        folders[:] = [name for name in folders if name != CHECKPOINTS]
        total += sum(Path(root, name).lstat().st_size for name in files)
    return total


_BEGAN = time.monotonic()


def show(record: Record, text: str) -> None:
    """Print a line with the time since the benchmark began."""
    passed = timedelta(seconds=int(time.monotonic() - _BEGAN))
    print(f"[{passed}] {record.scenario} {record.count}: {text}", flush=True)


def measure_all(options: argparse.Namespace, folder: Path) -> None:
    """Measure every scenario with each size that the folder does not hold yet."""
    benchmark = Benchmark(options.slots, options.limit, options.direct_above, options.profile, options.leave_out)
    for scenario in options.scenarios:
        before: Record | None = None
        for count in sorted(options.sizes):
            path = folder / f"{scenario}_{count}.record.json"
            if not path.exists():
                workspace = Workspace(folder / f"{scenario}_{count}", scenario, count)
                workspace.folder.mkdir(parents=True, exist_ok=True)
                too_long = find_too_long(before, count, options.limit)
                path.write_text(benchmark.measure(workspace, too_long).to_json())
                if not options.keep:
                    shutil.rmtree(workspace.folder)
            before = Record.from_json(path.read_text())


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


def write_between(begin: str, end: str, text: str) -> None:
    """Replace what stands between two marks of the document."""
    before, rest = DOCUMENT.read_text().split(begin)
    DOCUMENT.write_text(before + begin + text + end + rest.split(end)[1])


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help=f"trainings (default: {SIZES})")
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--slots", type=int, default=1000, help="trainings that run at once")
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds after which a command is ended")
    parser.add_argument(
        "--direct-above", type=int, default=1000, metavar="N",
        help="write stores of more trainings without MLflow's client (scale/direct_store.py; default: 1000)",
    )  # fmt: skip
    parser.add_argument("--leave-out", nargs="+", default=[], metavar="COMMAND", help="commands not to measure")
    parser.add_argument("--results", type=Path, metavar="FOLDER", help="keep results there, and use what is there")
    parser.add_argument("--keep", action="store_true", help="keep the simulated sweeps too")
    parser.add_argument("--profile", action="store_true", help="run each command under cProfile")
    parser.add_argument(
        "--disk", type=int, nargs="?", const=TRAININGS, metavar="N", help="train N times for two steps (200)"
    )
    parser.add_argument("--write", action="store_true", help="put what the folder holds into docs/benchmarks.md")
    return parser


def main() -> None:
    """Measure and print the tables, and put them with a figure into the document with --write."""
    parser = make_parser()
    options = parser.parse_args()
    if (options.write or options.keep) and options.results is None:
        parser.error("--write, --keep: give a folder, --results FOLDER")
    with tempfile.TemporaryDirectory() as temporary:
        folder: Path = (options.results or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if options.disk:
            text, marks = make_disk_table(measure_kept(folder, options.disk), options.disk), (DISK_BEGIN, DISK_END)
        else:
            if not options.write:
                measure_all(options, folder)
            records = read_records(folder)
            text, marks = make_text(records), (BEGIN, END)
            if options.write:
                draw(records, FIGURE)
    print(text)
    if options.write:
        write_between(*marks, text)
        print(f"written to {DOCUMENT}")


if __name__ == "__main__":
    main()
