"""What a command has imported by the time it answers: what takes long comes only where it is needed."""

import subprocess
import sys

import pytest

# Libraries that take from a third of a second to two seconds of processor time each.
SLOW = {"torch", "torchvision", "ray", "mlflow", "pandas", "matplotlib", "sqlalchemy", "optuna"}
PROGRAM = """
import sys
from orchestration.sweep import cli
sys.argv = ["sweep.py", *sys.argv[1:]]
try:
    code = cli()
except SystemExit as end:
    code = end.code
print(code, *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def answer(*arguments: str) -> tuple[str, set[str]]:
    """Return the exit code of a sweep's command, and the packages that its process imported."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    code, *packages = printed.splitlines()[-1].split()
    return code, set(packages)


@pytest.mark.ray
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        pytest.param(["--help"], "0", id="help"),
        pytest.param(["+experiment=ablation_centerness", "schedule.stepz=3"], "2", id="misspelt_key"),
        pytest.param(["+experiment=ablation_centernes"], "2", id="misspelt_experiment"),
    ],
)
def test_help_and_refusals_import_nothing_that_takes_long(arguments: list[str], code: str) -> None:
    printed, packages = answer(*arguments)

    assert printed == code and "orchestration" in packages
    assert not packages & SLOW
