"""What a command has imported at each stage: what takes long comes only where it is needed.

Help and refusals; a dry run; the driver when the first training is to begin; a sweep that has nothing to train.
The report is in tests/contract/report/test_report.py.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from fcos.storage.store_conventions import RunKind, RunStatus, Tag, default_uri
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.experiment.data import prepare_data
from orchestration.planning.make_plan import make_plan
from orchestration.tracking.store import open_store
from orchestration.trial.files import begin_training, write_summary
from tests.helpers.experiments.summaries import summary_of
from tests.helpers.status_folders import make_folder, record, training

# Libraries that take from a tenth of a second to two seconds of processor time each.
SLOW = {
    "torch", "torchvision", "timm", "ray", "mlflow", "pandas", "matplotlib", "scipy", "sqlalchemy", "optuna",
    "pycocotools", "faster_coco_eval", "hotcoco",
}  # fmt: skip
# Of those, what MLflow imports to read and write a tracking store.
STORE = {"mlflow", "sqlalchemy", "pandas", "scipy"}
WORDS = (
    "+experiment=ablation_centerness",
    "experiment.seeds=[0]",
    "data.synthetic.image_size=64",
    "data.synthetic.train_images=24",
    "data.synthetic.val_images=6",
    "data.synthetic.object_size=[10,40]",
    "data.cache_dir=cache",
)
# All images have another size than their files, to which torch resizes them when they are decoded.
RESIZED = (*WORDS, "data.short_sides=[96]", "data.long_side=96")
PROGRAM = """
import sys
from orchestration.sweep import cli
sys.argv = ["sweep.py", *sys.argv[1:]]
try:
    code = cli()
except SystemExit as end:
    code = end.code
print()
print(code, *sorted({name.partition(".")[0] for name in sys.modules}))
"""


# In the place of Ray and its trainings: what is imported when the first one is to begin.
BEFORE_TRAINING = """
import os, sys
from contextlib import nullcontext
from orchestration.cluster.resources import Node
from orchestration.driver import sweep_run

def end(*_):
    print(0, *sorted({name.partition(".")[0] for name in sys.modules}), flush=True)
    os._exit(0)

sweep_run.connected = lambda *_, **__: nullcontext([Node(2, 0)])
sweep_run.run_tune = end
"""
# Of this project, what a plan needs and a refusal does not, and what trainings need and a plan does not.
PLANNING, DRIVING = "orchestration.planning.prepare", "orchestration.driver.sweep_run"


def answer(folder: Path, *arguments: str, entry: str = "sweep", first: str = "") -> tuple[str, set[str]]:
    """Return the exit code of a command, a sweep's but for another entry, and the packages that it imported.

    Of this project's modules PLANNING and DRIVING are named too. first: a program that runs before.
    """
    program = PROGRAM.replace("orchestration.sweep", f"orchestration.{entry}")
    named = f" | ({{{PLANNING!r}, {DRIVING!r}}} & set(sys.modules))"
    program = program.replace("in sys.modules}", "in sys.modules}" + named)
    command = [sys.executable, "-c", first + program, *arguments]
    printed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
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
def test_help_and_refusals_import_nothing_that_takes_long(arguments: list[str], code: str, tmp_path: Path) -> None:
    printed, packages = answer(tmp_path, *arguments)

    assert printed == code and "orchestration" in packages
    assert packages & {*SLOW, PLANNING, DRIVING, "rich"} == set()


@pytest.mark.ray
@pytest.mark.parametrize("arguments", [[], ["shapes"], ["shapes", "--json"], ["--help"]])
def test_the_status_imports_neither_what_takes_long_nor_the_configuration(tmp_path: Path, arguments: list[str]) -> None:
    kept = record(training(0, state="finished"), phase="ended", exit_code=0)
    make_folder(tmp_path / "outputs" / "shapes", kept=kept)

    printed, packages = answer(tmp_path, *arguments, entry="status")

    assert printed == "0" and "orchestration" in packages
    assert packages & {*SLOW, "hydra", "omegaconf", "PIL", "yaml"} == set()


def prepare_in(folder: Path, monkeypatch: pytest.MonkeyPatch, words: Sequence[str]) -> None:
    """Prepare the data of a command in the folder, from which it is then run."""
    monkeypatch.chdir(folder)
    prepare_data(compose(check_overrides(words)).training, Console(quiet=True), workers=1)


def store_a_run(output: Path) -> None:
    """Make the store of an output folder with a finished run."""
    store = open_store(default_uri(output), "fcos-lab", output / "mlartifacts")
    store.close(store.create("from_regression seed 0", {Tag.KIND: RunKind.TRIAL}), RunStatus.FINISHED)


@pytest.mark.ray
def test_a_dry_run_on_prepared_data_and_a_filled_store_imports_nothing_that_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_in(tmp_path, monkeypatch, RESIZED)
    store_a_run(tmp_path / "outputs")

    printed, packages = answer(tmp_path, *RESIZED, "dry_run=true", "explain=true")

    assert printed == "0" and {"PIL", PLANNING} <= packages
    assert packages & {*SLOW, DRIVING} == set()


@pytest.mark.ray
def test_the_driver_imports_neither_torch_nor_mlflow_before_the_first_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow comes once a training has begun, torch with the processes that train."""
    prepare_in(tmp_path, monkeypatch, WORDS)
    store_a_run(tmp_path / "outputs")

    printed, packages = answer(tmp_path, *WORDS, first=BEFORE_TRAINING)

    # SQLAlchemy parses the address of the store; Ray runs by now.
    assert printed == "0" and "orchestration" in packages
    assert (packages & SLOW) - {"sqlalchemy", "ray"} == set()


@pytest.mark.ray
def test_a_sweep_whose_trainings_are_finished_imports_what_its_store_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lab = compose(check_overrides(WORDS))
    plan = make_plan(lab, lambda config: prepare_data(config, Console(quiet=True), workers=1), WORDS)
    for trial in plan.trials:
        begin_training(plan.folder_of(trial))
        summary = summary_of({arm: {"val/AP": 0.5} for arm in trial.arms})
        write_summary(plan.folder_of(trial), trial.identity, summary)

    printed, packages = answer(tmp_path, *WORDS, "report=false")

    assert printed == "0" and "mlflow" in packages
    assert (packages & SLOW) - STORE == set()
