"""Run an experiment file of your own, and read its results: python examples/own_experiment.py [WORD ...]

The file is own_experiment/experiment/head_of_mine.yaml. Words are those of the command line, such as
schedule.steps=100.
"""

import sys
from pathlib import Path

from orchestration import SweepResult, run_sweep

CONFIG = Path(__file__).parent / "own_experiment"


def main(*words: str, folder: Path = Path()) -> SweepResult:
    """Run the sweep and print the table and the verdicts of its report."""
    result = run_sweep(f"--config-dir={CONFIG}", "+experiment=head_of_mine", *words, folder=folder)
    for row in result.table:
        if row.metric == "val/AP":
            mean = "no value" if row.mean is None else f"{100 * row.mean:.1f}"
            print(f"{row.arm}: AP {mean} over {row.n} seeds")
    for verdict in result.verdicts:
        print(verdict.text)
    for failed in result.failed:
        print(f"failed: {failed.label}: {failed.reason}")
    print(f"{result.meaning}: {result.files.get('report.html', result.folder)}")
    return result


if __name__ == "__main__":
    main(*sys.argv[1:])
