"""Runs every benchmark, each in a process of its own, and writes a table of docs/benchmarks.md.

    python benchmarks/all.py [--quick] [--results FOLDER]

There is a table for each of torch's instruction sets in TABLES. With a folder, what it already holds is not measured
again.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch
from side_by_side import Result, amount, mebibytes

BENCHMARKS = ("assignment", "losses", "postprocess", "evaluation", "data_pipeline", "train_step", "inference")
FOLDER = Path(__file__).parent
DOCUMENT = FOLDER.parent / "docs" / "benchmarks.md"
# Instruction sets of torch with a table in the document.
TABLES = ("AVX512", "AVX2")


def measured(name: str, folder: Path, quick: bool) -> list[Result]:
    """Return one benchmark's results; the program ends with its status where that is not 0."""
    path = folder / f"{name}.json"
    if not path.exists():
        command = [sys.executable, str(FOLDER / f"{name}.py"), "--json", str(path), *(["--quick"] if quick else [])]
        status = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(FOLDER.parent)}).returncode
        if status:
            sys.exit(status)
    return [Result(**values) for values in json.loads(path.read_text())]


def row(name: str, result: Result) -> str:
    """Return one line of the table."""
    ratio = result.peer_seconds / result.ours_seconds
    goal = f" (goal {result.goal:g})" if result.goal is not None else ""
    memory = "–"
    if result.peer_bytes is not None and result.ours_bytes:
        memory = f"{result.peer_bytes / result.ours_bytes:.1f}"
        memory += f" (goal {result.memory_goal:g})" if result.memory_goal is not None else ""
        memory += f": {mebibytes(result.peer_bytes)}, {mebibytes(result.ours_bytes)}"
    times = f"{amount(result.peer_seconds, result.images)} | {amount(result.ours_seconds, result.images)}"
    title = result.name[0].upper() + result.name[1:]
    return f"| {title} | {ratio:.1f}{goal} | {times} | {memory} | {result.same}; {result.rounds} rounds | `{name}.py` |"


def machine() -> str:
    """Return processor, cores, instruction set and versions, in a line."""
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        entries = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((entry.split(": ")[1] for entry in entries if entry.startswith("model name")), model)
    packages = ("torch", "torchvision", "pycocotools", "hotcoco", "pillow")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return (
        f"Measured on {model.strip()} ({os.cpu_count()} cores, of which one was used; "
        f"{torch.backends.cpu.get_cpu_capability()}), Python {platform.python_version()}, {versions}."
    )


def main() -> None:
    """Measure all and replace the table in the document."""
    parser = argparse.ArgumentParser(description="Run every benchmark and write the table of docs/benchmarks.md.")
    parser.add_argument("--quick", action="store_true", help="few repetitions")
    parser.add_argument("--results", type=Path, metavar="FOLDER", help="keep results there, and use what is there")
    options = parser.parse_args()
    capability = torch.backends.cpu.get_cpu_capability()
    if capability not in TABLES:
        parser.error(f"{DOCUMENT} has no table for {capability}, only for {', '.join(TABLES)}")
    begin, end = (f"<!-- measured with {capability}: {edge} -->\n" for edge in ("begin", "end"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.results or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        lines = [row(name, result) for name in BENCHMARKS for result in measured(name, folder, options.quick)]
    head = "| what | times as fast | peer | ours | times less memory: peer, ours | results | `python benchmarks/` |\n"
    table = machine() + "\n\n" + head + "|---|---|---|---|---|---|---|\n" + "\n".join(lines) + "\n"
    text = DOCUMENT.read_text()
    before, rest = text.split(begin)
    DOCUMENT.write_text(before + begin + table + end + rest.split(end)[1])
    print(f"written to {DOCUMENT}")


if __name__ == "__main__":
    main()
