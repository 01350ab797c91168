"""Write the report of a sweep from MLflow: report.html (one file), report.md, explorer.html, report.json and tables;
noise.json too for a noise floor.

python analysis/report.py                          the newest sweep of the store in outputs/
python analysis/report.py ablation_centerness      a sweep by name or run id
python analysis/report.py s3://bucket/folder/NAME     a sweep whose output is in a bucket, where the report goes too
python analysis/report.py --paper v1               all tables of a paper, with the runs for each row
python analysis/report.py MINE --join THEIRS          with the seeds of another sweep, such as one that was imported
python analysis/report.py MINE --laboratories THEIRS  two sweeps of the same arms, the laboratory as a factor
python analysis/report.py --schema                 the JSON schema of report.json
python analysis/report.py --json                   one line of JSON on standard output, for programs
python analysis/report.py --resamples 0            without the intervals for other validation images, which take longest
"""

# Heavy imports are inside the functions, so that --help prints at once.
import argparse
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from analysis.reader.sweep import Sweep
    from analysis.reader.sweep_evaluations import SweepEvaluations
    from analysis.render.console import ReportConsole
    from analysis.sections.document import Document
    from fcos.storage.events import EventRecord

# Where no terminal sets a width.
PLAIN_WIDTH = 200
# Of sweeps that compare trainings.
EXPLORER = "explorer.html"
FILES = ("report.html", "report.md", "report.json", "table.csv", "table.tex")
# Exit code.
USER_ERROR = 2
# Of the validation images.
DEFAULT_RESAMPLES, MIN_RESAMPLES, MAX_RESAMPLES = 1000, 100, 10_000


@dataclass(frozen=True)
class Combination:
    """Other sweeps of the store to read beside the one that is reported.

    join: whose seeds join its table. laboratories: the one that it is compared with, the laboratory as a factor.
    """

    join: tuple[str, ...] = ()
    laboratories: str | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a report and print its path.

    Returns the exit code: 0, 2 without a sweep to report on, 141 for a closed output.
    """
    options = parse_arguments(arguments)
    from analysis.reader.client import StoreError, check_address
    from analysis.render.console import print_safely
    from fcos.streams import exit_code_of_closed_output, reserve_output

    if options.schema:
        return print_safely(_print_schema)
    from analysis.bucket import take_address
    from fcos.storage.store_conventions import default_uri

    if options.wait and not _wait_for_line(options.tracking_uri):
        return 0
    if options.json and sys.stdout is None:
        return exit_code_of_closed_output("report: standard output was closed")
    try:
        bucket = take_address(options)
        options.tracking_uri = options.tracking_uri or default_uri(Path.cwd() / "outputs")
        check_address(options.tracking_uri)
        with reserve_output() if options.json else nullcontext():
            print_result = _write_sweep(options) if options.paper is None else _write_paper(options)
        if bucket is not None:
            bucket.upload()
    except (StoreError, OSError) as error:
        print(f"report: {error}", file=sys.stderr)
        if not options.json:
            return USER_ERROR
        from fcos.storage.events import ErrorEvent

        return print_safely(partial(_print_event, ErrorEvent.of("store", USER_ERROR, [str(error)]))) or USER_ERROR
    return print_safely(print_result)


def _wait_for_line(uri: str | None) -> bool:
    """Load what a report needs and wait for a line on standard input; return whether one came before its end."""
    from analysis.preload import preload

    preload(uri)
    return bool(sys.stdin.readline())


def _print_schema() -> None:
    from analysis.report_json.schema import make_schema_text

    sys.stdout.write(make_schema_text())


def _write_sweep(options: argparse.Namespace) -> Callable[[], None]:
    """Write a sweep's report; returns the function that prints it."""
    combination = Combination(tuple(options.join), options.laboratories)
    show = partial(_print_early, is_quiet=options.json)
    document, folder = write_report(
        options.sweep, options.tracking_uri, options.output, options.experiment, options.resamples, combination, show
    )
    if options.json:
        from analysis.report_json.event import make_report_event
        from fcos.storage.noise_floor import NOISE

        return partial(_print_event, make_report_event(document, folder, (*FILES, EXPLORER, NOISE)))
    return lambda: print_path(folder / FILES[0])


def _print_early(document: "Document", *, is_quiet: bool) -> None:
    """Print the results before figures are drawn and files are written, unless events are printed instead."""
    from analysis.render.console import print_early

    if not is_quiet:
        print_early(partial(print_results, document))


def _write_paper(options: argparse.Namespace) -> Callable[[], None]:
    """Write a paper's report; returns the function that prints it."""
    from analysis.paper_report import report

    document, folder = report.write_paper_report(
        options.paper, options.tracking_uri, options.output, options.experiment
    )
    if options.json:
        return partial(_print_event, report.make_paper_event(document, folder))
    return lambda: report.print_paper_report(document, folder / report.FILES[0])


def _print_event(event: "EventRecord") -> None:
    # JSON is UTF-8, whatever the terminal is.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    sys.stdout.write(event.to_line())


class _Parser(argparse.ArgumentParser):
    """Parser whose mistakes are an event too, where --json is among the words."""

    words: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        """Report a wrong command line and exit with 2."""
        if "--json" in self.words and sys.stdout is not None:
            from analysis.render.console import print_safely
            from fcos.storage.events import ErrorEvent

            print_safely(partial(_print_event, ErrorEvent.of("config", USER_ERROR, [message])))
        super().error(message)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; exits with 2 for a wrong one."""
    parser = _make_parser(sys.argv[1:] if arguments is None else arguments)
    options = parser.parse_args(arguments)
    if options.paper is not None and options.sweep is not None:
        parser.error(f"--paper {options.paper} {options.sweep}: give a sweep or a paper, not both")
    if options.laboratories is not None and options.join:
        parser.error("--laboratories and --join: give one of the two")
    if options.paper is not None and (options.join or options.laboratories):
        parser.error("--paper: takes neither --join nor --laboratories")
    return options


def _make_parser(words: Sequence[str]) -> _Parser:
    """Return the parser of a command line of these words."""
    parser = _Parser(description="Report of a sweep or a run: tables, figures, verdicts and provenance.")
    parser.words = words
    parser.add_argument("sweep", nargs="?", help="name, run id or bucket address of the sweep; the newest if not given")
    parser.add_argument(
        "--tracking-uri",
        default=os.environ.get("MLFLOW_TRACKING_URI"),
        help="MLflow store (default: $MLFLOW_TRACKING_URI, or outputs/mlflow.db here)",
    )
    parser.add_argument("--paper", choices=("v1", "v2"), help="instead of a sweep: all tables of this paper")
    parser.add_argument(
        "--output", type=Path, help="folder of the report (default: outputs/<sweep>/report, outputs/paper_<version>)"
    )
    parser.add_argument(
        "--join", action="append", default=[], metavar="SWEEP",
        help="also the seeds of another sweep, where they are the same trainings but for the seed; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--laboratories", metavar="SWEEP", help="compare with the same arms of another laboratory, as a factor"
    )
    parser.add_argument("--schema", action="store_true", help="print the JSON schema of report.json and end")
    parser.add_argument("--json", action="store_true", help="print one line of JSON, for programs")
    parser.add_argument(
        "--wait", action="store_true",
        help="load the libraries, then wait for a line on standard input; nothing is written without one",
    )  # fmt: skip
    parser.add_argument("--experiment", help="look only in the MLflow experiment of this name")
    parser.add_argument(
        "--resamples",
        type=parse_resamples,
        default=DEFAULT_RESAMPLES,
        metavar="N",
        help=f"resamples of the validation images, 0 for no intervals for other images (default: {DEFAULT_RESAMPLES})",
    )
    return parser


def parse_resamples(text: str) -> int:
    """Parse --resamples: 0, or enough for a variance."""
    if not text.isdecimal() or 0 < int(text) < MIN_RESAMPLES or int(text) > MAX_RESAMPLES:
        raise argparse.ArgumentTypeError(f"{text!r} is neither 0 nor a number from {MIN_RESAMPLES} to {MAX_RESAMPLES}")
    return int(text)


def write_report(
    sweep: str | None,
    tracking_uri: str,
    output: Path | None = None,
    mlflow_experiment: str | None = None,
    resamples: int = DEFAULT_RESAMPLES,
    combination: Combination = Combination(),
    show: "Callable[[Document], None]" = lambda document: None,
) -> "tuple[Document, Path]":
    """Write the files of FILES, EXPLORER where trainings are compared, and noise.json for a noise floor.

    Returns the document and their folder.

    resamples: of the validation images, 0 for none. show: is called with the document before its figures are drawn.
    Shows progress on a terminal.

    Raises StoreError where the store or the sweep is missing.
    """
    from analysis.reader.runs import read_sweep
    from analysis.reader.sweep_evaluations import open_evaluations
    from analysis.render.console import show_progress
    from analysis.sections.document import build_document
    from analysis.sections.resampling import Resampling

    read = _combine(read_sweep(tracking_uri, sweep, mlflow_experiment), combination, mlflow_experiment)
    with open_evaluations(read) as evaluations:
        with show_progress("evaluating resampled images") as on_trial:
            document = build_document(read, evaluations, Resampling(resamples, on_trial))
        show(document)
        with show_progress("comparing images") as on_trial:
            files = render_files(document, evaluations, on_trial)
    folder = output or Path("outputs") / make_folder_name(document.sweep.name) / "report"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return document, folder


def _combine(sweep: "Sweep", combination: Combination, mlflow_experiment: str | None) -> "Sweep":
    """Return a sweep with what is read beside it; raises StoreError where they cannot be combined."""
    from analysis.combining.joining import join_sweeps
    from analysis.combining.laboratories import compare_laboratories
    from analysis.reader.runs import read_sweep

    if combination.laboratories is not None:
        return compare_laboratories(sweep, read_sweep(sweep.uri, combination.laboratories, mlflow_experiment))
    if combination.join:
        return join_sweeps(sweep, [read_sweep(sweep.uri, name, mlflow_experiment) for name in combination.join])
    return sweep


def make_folder_name(sweep: str) -> str:
    """Return a sweep's name from the store as the name of a single folder, which cannot lead elsewhere."""
    return re.sub(r"[^\w.-]+", "_", sweep).lstrip(".") or "sweep"


def render_files(
    document: "Document", evaluations: "SweepEvaluations", show_progress: Callable[[int, int], None]
) -> dict[str, str]:
    """Return the text of each file; reads the store for evaluations, and shows how many of how many trials are done."""
    from analysis.explorer.page import has_explorer, make_explorer_page

    is_explored = has_explorer(document.sweep)
    extra = {EXPLORER: make_explorer_page(document, evaluations, show_progress)} if is_explored else {}
    return extra | render_pages(document, is_explored=is_explored)


def render_pages(document: "Document", *, is_explored: bool) -> dict[str, str]:
    """Return the text of each file but the explorer's, to which the page has a link where `is_explored`."""
    from analysis.render import tables
    from analysis.render.templates import make_environment
    from analysis.report_json.build import make_report_json
    from fcos.storage.noise_floor import NOISE

    context = {"document": document, "tables": tables, "is_explored": is_explored}
    first, noise = document.content.tables[0], document.content.noise
    extra = {} if noise is None else {NOISE: noise.to_json()}
    return extra | {
        "report.html": make_environment(True).get_template("report.html.j2").render(context),
        "report.md": make_environment(False).get_template("report.md.j2").render(context),
        "report.json": make_report_json(document),
        "table.csv": tables.to_csv(document.content.values),
        "table.tex": tables.to_latex(first.frame, first.columns),
    }


def print_results(document: "Document") -> None:
    """Print the first table, the verdicts and the notes of the store."""
    from rich.text import Text

    from analysis.render.console import fit_table

    console = _make_console()
    content = document.content
    console.print(fit_table(content.tables[0], document.sweep.name, console))
    if content.recommended_settings:
        console.print(Text(content.recommended_settings), soft_wrap=True)
    for line in content.findings:
        console.print(Text(line), soft_wrap=not console.is_terminal)
    for verdict in content.verdicts:
        console.print(Text(f"{verdict.arm}: {verdict.text}"), soft_wrap=not console.is_terminal)
    if document.missing:
        console.print(Text(f"without a result: {len(document.missing)} of the planned trials (see the report)"))
    for note in document.sweep.notes:
        console.print(Text(f"note: {note}"), soft_wrap=True)


def print_path(path: Path) -> None:
    """Print the path of a report that is written."""
    from rich.text import Text

    _make_console().print(Text(f"report: {path}"), soft_wrap=True)


def _make_console() -> "ReportConsole":
    from analysis.render.console import ReportConsole

    console = ReportConsole()
    return console if console.is_terminal else ReportConsole(width=PLAIN_WIDTH)


if __name__ == "__main__":
    sys.exit(main())
