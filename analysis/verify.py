"""Verify a published sweep, offline and without a GPU: every file, then every number of its report and the verdicts.

python analysis/verify.py ablation_centerness.zip
python analysis/verify.py ablation_centerness.zip --id 3f0c...             and that it is the archive of this id
python analysis/verify.py ablation_centerness.zip --annotations val.json   and that it was evaluated on these boxes
"""

# Heavy imports are inside the functions, so that --help prints at once.
import argparse
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.verification.evaluations import RecomputedMetrics
    from analysis.verification.report_again import RecomputedReport
    from fcos.annotations.annotations import Annotations
    from fcos.published.records import ArchiveHeader
    from fcos.published.trials import PublishedTrial

# Problems that are printed of each kind.
MOST = 10
# Widest word before what is printed beside it.
WIDTH = 14


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify an archive; returns the exit code: 0 if all holds, 1 if something does not, 2 for a wrong command.

    1 also where no metric of its trainings could be computed again, and 141 where standard output is closed.
    """
    options = parse_arguments(arguments)
    from fcos.streams import exit_code_of_closed_output, flush_output, replace_unprintable_characters

    replace_unprintable_characters()
    try:
        code = _verify(options)
        flush_output()
    except BrokenPipeError:
        return exit_code_of_closed_output("verify: standard output was closed")
    return code


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; exits with 2 for a wrong one."""
    parser = argparse.ArgumentParser(
        description="Verify a published sweep, offline: every file, then every number and verdict of its report."
    )
    parser.add_argument("file", type=Path, help="the zip file that publish.py wrote")
    parser.add_argument("--id", help="the id under which the archive was announced")
    parser.add_argument("--annotations", type=Path, help="COCO annotations of one's own to compare its boxes with")
    return parser.parse_args(arguments)


def _verify(options: argparse.Namespace) -> int:
    from analysis.reader.client import StoreError
    from analysis.verification.annotations import read_own_annotations
    from fcos.errors import ConfigError, DataError

    for file in filter(None, (options.file, options.annotations)):
        if not file.is_file():
            print(f"verify: {file}: no such file", file=sys.stderr)
            return 2
    try:
        own = None if options.annotations is None else read_own_annotations(options.annotations)
    except (ConfigError, OSError) as error:
        print(f"verify: {error}", file=sys.stderr)
        return 2
    try:
        with tempfile.TemporaryDirectory() as temporary:
            failed = _run_tiers(options, own, Path(temporary))
    except (StoreError, DataError) as error:
        _print("refused", str(error))
        return 1
    except BrokenPipeError:
        raise
    except OSError as error:
        print(f"verify: {options.file}: cannot be extracted and read here: {error}", file=sys.stderr)
        return 2
    return int(failed)


def _run_tiers(options: argparse.Namespace, own: "Annotations | None", temporary: Path) -> bool:
    """Run one tier after another and print what each shows; returns whether the archive fails.

    own: annotations to compare the boxes with, if any.
    """
    from analysis.render.console import show_progress
    from analysis.verification.consistency import find_inconsistencies, list_unverified
    from analysis.verification.evaluations import recompute_metrics
    from analysis.verification.report_again import recompute_report
    from fcos.published.trials import list_trials

    folder, header, is_other = _check_intact(options, temporary)
    trials = list_trials(folder)
    problems = _print_problems(find_inconsistencies(folder, header, trials))
    for text in list_unverified(folder, trials):
        _print("NOT VERIFIED", text)
    if own is not None:
        problems += _compare_annotations(trials, own, options.annotations)
    with show_progress("evaluating detections") as on_trial:
        metrics = recompute_metrics(trials, on_trial)
    problems += _print_metrics(metrics)
    with show_progress("evaluating resampled images") as on_trial:
        report = recompute_report(folder, header, on_trial)
    problems += _print_report(report, metrics)
    _print_logged(metrics, report)
    _print_retraining(options.file, trials)
    tier, holds = _choose_tier(is_other, problems, metrics)
    _print("holds", tier)
    return not holds


def _check_intact(options: argparse.Namespace, temporary: Path) -> "tuple[Path, ArchiveHeader, bool]":
    """Extract an archive whose every file is intact; returns its folder, header, and whether its id is another one."""
    from fcos.published.archive import extract_archive
    from fcos.published.crate import check_files, compute_id
    from fcos.published.layout import HEADER
    from fcos.published.records import ArchiveHeader, read_record

    folder = extract_archive(options.file, temporary)
    count, archive_id = check_files(folder), compute_id(folder)
    header = read_record(folder / HEADER, ArchiveHeader)
    of_laboratory = f" of {header.laboratory}" if header.laboratory else ""
    _print("archive", f"{header.sweep}{of_laboratory}, written by fcos-lab {header.version}")
    _print("intact", f"{count} files are those that the archive names; id {archive_id}")
    is_other = options.id is not None and options.id.lower() != archive_id
    _print_problems([f"the id is not {options.id!r}: this is another archive"] if is_other else [])
    return folder, header, is_other


def _choose_tier(is_other: bool, problems: int, metrics: "RecomputedMetrics") -> tuple[str, bool]:
    """Return which tier holds, as a last line, and whether that is all that an archive can show here."""
    if is_other:
        return "none: it is another archive than the one of that id", False
    if problems:
        return "intact, and not recomputed: what differs is named above", False
    if metrics.is_as_logged and metrics.trainings:
        return "intact, and not recomputed: without detections its metrics and verdicts are as logged", False
    if metrics.is_as_logged:
        return "intact; no detector was evaluated, and what its runs logged is as logged", True
    return "intact and recomputed, except what is named above as NOT VERIFIED or as logged", True


def _compare_annotations(trials: "Sequence[PublishedTrial]", own: "Annotations", file: Path) -> int:
    from analysis.verification.annotations import compare_annotations

    images, problems = compare_annotations(trials, own)
    if images and not problems:
        _print("annotations", f"the boxes of {images} of the {len(own)} images of {file} are those in the archive")
    if without := [trial.label for trial in trials if not trial.has_evaluation]:
        _print("NOT VERIFIED", f"without annotations, not compared with {file}: {', '.join(without)}")
    return _print_problems(problems)


def _print_metrics(result: "RecomputedMetrics") -> int:
    if result.trials and not result.problems:
        _print(
            "recomputed",
            f"{result.metrics} metrics of {result.trials} trials from {result.detections} detections, "
            f"{_describe_equality(result.largest)}",
        )
    if result.without:
        _print("NOT VERIFIED", f"without detections, metrics and verdicts as logged: {', '.join(result.without)}")
    if len(result.groups) > 1:
        groups = "; ".join(", ".join(labels) for labels in result.groups)
        text = "whether trials compare that were evaluated on other images, boxes or classes"
        _print("NOT VERIFIED", f"{text}: {groups}")
    return _print_problems(result.problems)


def _print_report(result: "RecomputedReport", metrics: "RecomputedMetrics") -> int:
    from fcos.published.layout import REPORT_JSON

    comparison, origin = result.comparison, ", from values as logged" if metrics.is_as_logged else ""
    if not comparison.differences:
        equality = _describe_equality(comparison.largest)
        _print("recomputed", f"{comparison.numbers} numbers of {REPORT_JSON}, {equality}{origin}")
        verdicts = f"{result.verdicts} verdict{'' if result.verdicts == 1 else 's'}"
        _print("recomputed", f"{verdicts} and all other texts: the same{origin}")
    if result.pictures:
        count = f"{result.pictures} picture{'s' if result.pictures > 1 else ''}"
        _print("NOT VERIFIED", f"{count} of the page: not what is drawn here (by another version, or changed)")
    return _print_problems([*(f"{REPORT_JSON} {each}" for each in comparison.differences), *result.problems])


def _print_logged(metrics: "RecomputedMetrics", report: "RecomputedReport") -> None:
    """Name the metrics that no detections were evaluated for."""
    if logged := [metric for metric in report.metrics if metric not in metrics.keys]:
        _print("as logged", f"{', '.join(logged)}: not computed again, nor what verdicts on them rest on")


def _describe_equality(largest: float) -> str:
    return "equal to the last digit" if not largest else f"equal but for rounding (at most {largest:.1e} of a number)"


def _print_retraining(file: Path, trials: "Sequence[PublishedTrial]") -> None:
    from fcos.installation import command

    if any(trial.is_finished and not trial.is_count and not trial.is_extended for trial in trials):
        _print("retrained", f"not tried; to train one seed again: {command('retrain')} {shlex.quote(str(file))}")


def _print_problems(problems: Sequence[str]) -> int:
    for problem in problems[:MOST]:
        _print("DIFFERS", problem)
    if len(problems) > MOST:
        _print("", f"and {len(problems) - MOST} more")
    return len(problems)


def _print(word: str, text: str) -> None:
    from analysis.formatting import make_printable

    print(f"{word:<{WIDTH}}{make_printable(text)}")


if __name__ == "__main__":
    sys.exit(main())
