"""Publish a sweep as one zip file that others can verify offline: runs, detections, report, environment, metadata.

python analysis/publish.py ablation_centerness             a sweep by name or run id
python analysis/publish.py ablation_centerness --list      what it would hold, without writing it
python analysis/publish.py ablation_centerness --weights   with the weights of each training
"""

# Heavy imports are inside the functions, so that --help prints at once.
import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.report import DEFAULT_RESAMPLES, parse_resamples

if TYPE_CHECKING:
    from analysis.publishing.stage import Staged

# Findings that are printed.
MOST_FINDINGS = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Publish a sweep; returns the exit code: 0, 2 where nothing was written, 141 for a closed output."""
    options = parse_arguments(arguments)
    from analysis.reader.client import StoreError, check_address
    from fcos.errors import ConfigError
    from fcos.storage.store_conventions import default_uri

    options.tracking_uri = options.tracking_uri or default_uri(Path.cwd() / "outputs")
    try:
        check_address(options.tracking_uri)
        return _publish(options)
    except (StoreError, ConfigError, OSError) as error:
        print(f"publish: {error}", file=sys.stderr)
        return 2


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; exits with 2 for a wrong one."""
    parser = argparse.ArgumentParser(description="Publish a sweep as one zip file that others can verify offline.")
    parser.add_argument("sweep", nargs="?", help="name or run id of the sweep; the newest if not given")
    parser.add_argument(
        "--tracking-uri",
        default=os.environ.get("MLFLOW_TRACKING_URI"),
        help="MLflow store (default: $MLFLOW_TRACKING_URI, or outputs/mlflow.db here)",
    )
    parser.add_argument("--experiment", help="look only in the MLflow experiment of this name")
    parser.add_argument("--output", type=Path, help="the zip file (default: outputs/<sweep>/<sweep>.zip)")
    parser.add_argument("--laboratory", default="", help="who trained it, as others will read it (default: not given)")
    parser.add_argument("--license", default="", help="license of the results, such as CC-BY-4.0 (default: not given)")
    parser.add_argument("--list", action="store_true", help="print what the file would hold and end")
    parser.add_argument("--weights", action="store_true", help="with the weights of each training, as safetensors")
    parser.add_argument("--no-pictures", action="store_true", help="without the sample detections")
    parser.add_argument(
        "--incomplete", action="store_true", help="also without a plan or a configuration that the store has no more"
    )
    parser.add_argument(
        "--hide", action="append", default=[], metavar="TEXT", help="put <hidden> in place of a text; may be repeated"
    )
    parser.add_argument(
        "--allow", action="append", default=[], metavar="TEXT", help="a text that is not private; may be repeated"
    )
    parser.add_argument(
        "--resamples",
        type=parse_resamples,
        default=DEFAULT_RESAMPLES,
        metavar="N",
        help=f"resamples of the validation images in the report (default: {DEFAULT_RESAMPLES})",
    )
    return parser.parse_args(arguments)


def _publish(options: argparse.Namespace) -> int:
    """List the archive and write it, or nothing where it holds what is private; returns the exit code."""
    from analysis.publishing.collect import PublishChoices
    from analysis.publishing.neutral import hide_texts
    from analysis.publishing.stage import stage_archive
    from analysis.reader.raw_runs import read_raw_sweep
    from analysis.render.console import show_progress
    from fcos.published.archive import write_archive
    from fcos.published.layout import default_archive, make_safe_word
    from fcos.storage.whole_file import whole_file

    sweep = read_raw_sweep(options.tracking_uri, options.sweep, options.experiment)
    choices = PublishChoices(
        laboratory=options.laboratory,
        license=options.license,
        resamples=options.resamples,
        pictures=not options.no_pictures,
        weights=options.weights,
        incomplete=options.incomplete,
        hidden=tuple(options.hide),
    )
    name = hide_texts(sweep.name, options.hide)
    top, file = make_safe_word(name, set()), options.output or Path(default_archive(name))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / top
        folder.mkdir()
        with show_progress("evaluating resampled images") as on_trial:
            staged = stage_archive(sweep, folder, choices, tuple(options.allow), on_trial)
        lines = _list_contents(folder, staged)
        if staged.findings:
            return _print([*lines, *_describe_findings(staged, file)]) or 2
        closed = _print(lines)
        if options.list:
            return closed
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as part:
            write_archive(folder, top, part)
    return _print(_describe_file(file, staged.id)) or closed


def _print(lines: Sequence[str]) -> int:
    """Print lines; returns 0, or 141 where standard output is closed."""
    from analysis.render.console import print_safely

    return print_safely(lambda: print("\n".join(lines)))


def _list_contents(folder: Path, staged: "Staged") -> list[str]:
    """Return a line for each file with its size, then what was replaced and left out."""
    from fcos.published.archive import list_files

    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in list_files(folder)}
    replaced = staged.collected.replaced
    return [
        *(f"{size:>13,}  {name}" for name, size in sizes.items()),
        f"{sum(sizes.values()):>13,}  bytes in {len(sizes)} files",
        *([f"replaced: {', '.join(f'{word} {count} times' for word, count in replaced.items())}"] if replaced else []),
        *(f"note: {note}" for note in staged.notes),
    ]


def _describe_findings(staged: "Staged", file: Path) -> list[str]:
    more = len(staged.findings) - MOST_FINDINGS
    return [
        *(str(finding) for finding in staged.findings[:MOST_FINDINGS]),
        *([f"and {more} more"] if more > 0 else []),
        f"{file} is not written: what stands above looks private. --hide TEXT puts <hidden> in its place, --allow TEXT "
        "leaves a text that is not private as it is. Of a text that was to be hidden and is there still, hide the "
        "whole word; names of classes and images stay as they were evaluated.",
    ]


def _describe_file(file: Path, archive_id: str) -> list[str]:
    from fcos.installation import command

    return [f"id: {archive_id}", f"published: {file}", f"to verify it: {command('verify')} {shlex.quote(str(file))}"]


if __name__ == "__main__":
    sys.exit(main())
