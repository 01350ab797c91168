"""`run_sweep`: the command of a sweep from Python, with typed results and the command's own messages."""

import doctest
from pathlib import Path

import pytest

from fcos.errors import ConfigError
from fcos.storage.events import EventRecord
from orchestration import FolderInUse, run_sweep
from orchestration.cli.event_records import PlanEvent, TrainingProgress
from orchestration.cli.lock import lock_folder
from tests.helpers.experiments.sweeps import SHARED, environment, sweep


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)


def test_a_dry_run_returns_the_plan_and_passes_its_events_on(tmp_path: Path) -> None:
    seen: list[EventRecord] = []
    result = run_sweep(*SHARED, f"experiment.seeds={[0, 1]}", "dry_run=true", folder=tmp_path, on_event=seen.append)
    assert (result.plan.arms, result.plan.seeds) == (("none", "from_regression"), (0, 1))
    assert (result.exit_code, result.report, result.table, result.files) == (0, None, (), {})
    assert result.folder == tmp_path / "outputs" / "ablation_centerness"
    assert isinstance(seen[0], PlanEvent) and seen[0] == result.plan


def test_a_mistake_has_the_text_of_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        run_sweep("+experiment=ablation_centernes", folder=tmp_path)
    shown = sweep(tmp_path, "+experiment=ablation_centernes").stderr
    assert shown == f"error: {raised.value}\n"
    assert "no such experiment; did you mean ablation_centerness" in shown


def test_the_example_of_its_docstring_gives_what_it_shows(tmp_path: Path) -> None:
    text = run_sweep.__doc__ or ""
    names = {"run_sweep": run_sweep, "folder": tmp_path}
    example = doctest.DocTestParser().get_doctest(text, names, "run_sweep", None, 0)
    written: list[str] = []
    found = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=written.append)
    assert found.attempted == 4 and written == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--help",), "--help: prints text; python orchestration/sweep.py --help"),
        (("--schema=events",), "--schema=events: prints text"),
        ((3,), "3: a word of the command line is text"),
    ],
)
def test_words_that_are_no_sweep_are_refused(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        run_sweep(*words, folder=tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"folder=.*nowhere: no such folder"):
        run_sweep(folder=tmp_path / "nowhere")


def test_a_folder_in_use_is_an_error_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "outputs" / "ablation_centerness"
    folder.mkdir(parents=True)
    with lock_folder(folder, "now"), pytest.raises(FolderInUse, match="ablation_centerness"):
        run_sweep(*SHARED, folder=tmp_path)


@pytest.mark.slow(minutes=1)
def test_an_error_of_the_caller_ends_the_sweep_in_order_and_the_same_call_goes_on(tmp_path: Path) -> None:
    def leave(event: EventRecord) -> None:
        if isinstance(event, TrainingProgress):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(*SHARED, folder=tmp_path, on_event=leave)
    result = run_sweep(*SHARED, folder=tmp_path)
    assert (result.exit_code, result.meaning, result.failed) == (0, "all is well", ())
    assert {row.arm for row in result.table} == {"none", "from_regression"}
    assert [verdict.arm for verdict in result.verdicts if verdict.metric == "val/AP"] == ["from_regression"]
    assert result.files["report.json"].is_file()
