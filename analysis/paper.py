"""Write what a paper needs of sweeps: methods, checklist, model card, LaTeX table, each number with its runs.

python analysis/paper.py ablation_centerness                     a sweep by name or run id
python analysis/paper.py ablation_centerness ablation_radius     several in one table
python analysis/paper.py ablation_centerness --license CC-BY-4.0 with the license of the weights in the model card
"""

# Heavy imports are inside the functions, so that --help prints at once.
import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.manuscript.collect import ManuscriptFacts

# Exit code.
USER_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files and print their folder; returns the exit code: 0, 2 without a sweep, 141 for a closed output."""
    options = parse_arguments(arguments)
    from analysis.formatting import make_printable
    from analysis.manuscript.collect import collect_facts
    from analysis.manuscript.write import choose_folder, make_files, write_files
    from analysis.reader.client import StoreError, check_address
    from analysis.render.console import print_safely
    from fcos.storage.store_conventions import default_uri

    uri = options.tracking_uri or default_uri(Path.cwd() / "outputs")
    try:
        check_address(uri)
        facts = collect_facts(uri, options.sweep, options.experiment)
        files = make_files(facts, options.license)
        folder = options.output or choose_folder(facts)
        write_files(files, folder)
    except (StoreError, OSError) as error:
        print(f"paper: {error}", file=sys.stderr)
        return USER_ERROR
    lines = [*describe_notes(facts), f"paper: {folder} ({', '.join(files)})"]
    text = "\n".join(map(make_printable, lines))
    return print_safely(lambda: print(text))


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; exits with 2 for a wrong one."""
    parser = argparse.ArgumentParser(
        description="What a paper needs of sweeps: methods, NeurIPS checklist, model card and a LaTeX table."
    )
    parser.add_argument("sweep", nargs="*", help="names or run ids of sweeps; the newest if none is given")
    parser.add_argument(
        "--tracking-uri",
        default=os.environ.get("MLFLOW_TRACKING_URI"),
        help="MLflow store (default: $MLFLOW_TRACKING_URI, or outputs/mlflow.db here)",
    )
    parser.add_argument("--experiment", help="look only in the MLflow experiment of this name")
    parser.add_argument("--output", type=Path, help="folder of the files (default: outputs/<sweep>/paper)")
    parser.add_argument("--license", default="", help="license of weights, such as CC-BY-4.0 (default: not given)")
    return parser.parse_args(arguments)


def describe_notes(facts: "ManuscriptFacts") -> list[str]:
    """Return lines on what a reader of the files has to know of each sweep before they are used."""
    from analysis.formatting import format_count
    from analysis.manuscript.sentences.design import is_fixed_before_results

    lines = []
    for sweep in facts.sweeps:
        name, document = sweep.sweep.name, sweep.document
        if document.missing:
            lines.append(f"note: {name}: {format_count(len(document.missing), 'planned trial')} without a result")
        if all(summary.n < 2 for summary in sweep.record.summaries):
            lines.append(f"note: {name}: one seed, so there is no spread")
        if is_fixed_before_results(sweep) is None:
            lines.append(f"note: {name}: {sweep.no_history}: when its plan was fixed is not known")
        if replaced := sum(sweep.neutral.replaced.values()):
            lines.append(f"note: {name}: paths and addresses replaced by the names of their keys: {replaced}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
