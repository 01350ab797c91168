"""The command for a paper: its files, twice the same; every number with its runs; what it refuses."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.csv_rows import read_rows
from tests.helpers.experiments.stored_sweeps import EXPERIMENT, HOSTILE, SweepWriter

RunPaper = Callable[..., int]
# A number that stands by itself, and is no part of a name.
NUMBER = re.compile(r"(?<![\w.,:/=#`-])\d+(?:\.\d+)?(?![\w]|\.\d)")


def test_one_sweep_is_written_beside_its_report(
    writer: SweepWriter, run_paper: RunPaper, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_paper("decided", "--tracking-uri", writer.uri) == 0
    folder = tmp_path / "outputs" / "decided" / "paper"
    assert sorted(path.name for path in folder.iterdir()) == [
        "checklist.md", "compute.csv", "methods.md", "methods.tex", "model_card.md", "numbers.csv", "runs.csv",
        "table.tex", "table_standalone.tex",
    ]  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("paper: outputs/decided/paper (table.tex, ")
    assert "note: decided: plan_history.json is not in the store, as of sweeps of older versions" in lines[0]


def test_several_sweeps_have_a_table_and_a_card_each(written: Path) -> None:
    cards = sorted(path.name for path in written.glob("model_card*"))
    assert cards == [f"model_card_{name}.md" for name in ("alone", "decided", "hostile")]
    assert (written / "table.tex").read_text().count(r"\midrule") == 3


def test_the_same_store_gives_the_same_bytes(
    writer: SweepWriter, run_paper: RunPaper, written: Path, tmp_path: Path
) -> None:
    names = ("decided", "hostile", "alone")
    assert run_paper(*names, "--tracking-uri", writer.uri, "--output", tmp_path / "again") == 0
    files = {path.name: path.read_bytes() for path in written.iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}


@pytest.mark.parametrize("name", ["methods.md", "checklist.md", "model_card_decided.md", "model_card_alone.md"])
def test_every_number_of_a_text_is_listed_with_its_runs(written: Path, name: str) -> None:
    text = (written / name).read_text().split("\n---\n")[-1].split("\n## Runs\n")[0]
    listed = [row for row in read_rows(written / "numbers.csv") if row["file"] == name]
    known = set(NUMBER.findall("\n".join(row["text"] for row in listed)))
    labels = {row["runs"] for row in read_rows(written / "runs.csv")}
    assert {row["runs"] for row in listed} <= labels
    prose = [line for line in text.splitlines() if not line.startswith(("#", "    ", "Questions 4"))]
    # Seeds name their run in the row itself.
    prose = [line for line in prose if not re.match(r"\| \d+ \|", line)]
    assert len(known) > 5
    assert set(NUMBER.findall(re.sub(r"\[r\d+\]|\| r\d+ \|", "", "\n".join(prose)))) - known == set()


def test_labels_of_a_sentence_are_those_of_the_list(written: Path) -> None:
    labels = {row["runs"] for row in read_rows(written / "runs.csv")}
    for file in (*written.glob("*.md"), *written.glob("*.tex")):
        text = file.read_text()
        used = {*re.findall(r"\[(r\d+)\]", text), *re.findall(r"% (r\d+)$", text, re.MULTILINE)}
        assert used <= labels and used


def test_runs_have_their_sweep_arm_and_seed(written: Path) -> None:
    rows = read_rows(written / "runs.csv")
    assert {row["sweep"] for row in rows if row["kind"] == "sweep"} == {"decided", "hostile", "alone"}
    assert HOSTILE in {row["arm"] for row in rows}
    assert all(re.fullmatch("[0-9a-f]{32}", row["run_id"]) for row in rows)


def test_names_of_the_store_are_escaped(written: Path) -> None:
    for file in ("methods.md", "checklist.md", "model_card_hostile.md"):
        body = (written / file).read_text().split("\n---\n")[-1]
        assert "<script>" not in body and "<img" not in body
    assert all((written / name).read_text().isascii() for name in ("table.tex", "methods.tex", "table_standalone.tex"))


def test_one_seed_has_no_spread(written: Path) -> None:
    table = (written / "table.tex").read_text().partition("alone:")[2]
    assert "50.0" in table and r"$\pm$" not in table
    card = (written / "model_card_alone.md").read_text()
    assert "One seed: there is no spread." in card and "standard-deviation" not in card and " ± 0" not in card
    assert "With one seed an arm has no spread, and none is given" in (written / "checklist.md").read_text()


def test_superseded_failed_and_preliminary_runs_are_counted(
    own_writer: SweepWriter, run_paper: RunPaper, tmp_path: Path
) -> None:
    parent = own_writer.write_sweep("main", "mine")
    replaced = own_writer.write_trial("main", parent, "branch", 0, 0.1, start=1)
    own_writer.client.set_tag(replaced, "fcos.superseded_by", parent)
    own_writer.write_sweep("main", "before", {"none": (0.4, 0.5)}, start=1)
    other = own_writer.write_sweep("elsewhere", "other", {"none": (0.4,)})
    for run in own_writer.client.search_runs([own_writer.experiment_id("elsewhere")]):
        own_writer.client.set_tag(run.info.run_id, "fcos.experiment", "another")
    assert run_paper("mine", "--tracking-uri", own_writer.uri, "--output", tmp_path / "out") == 0
    costs = read_rows(tmp_path / "out" / "compute.csv")
    groups = [row["group"] for row in costs]
    assert {group: groups.count(group) for group in groups} == {
        "reported": 8, "not reported": 2, "other sweeps": 2, "other experiments": 1,
    }  # fmt: skip
    assert {row["run_id"] for row in costs if row["group"] == "not reported"} >= {replaced} and other
    text = (tmp_path / "out" / "checklist.md").read_text()
    assert "Trainings behind the reported numbers: 8 trainings, 0.133 hours, 8 of them without recorded" in text
    assert "not reported (failed, stopped, unfinished or replaced): 2 trainings, 0.0333 hours" in text
    assert "preliminary or later: 2 trainings" in text and "single runs: 1 training" in text


def refuse(run_paper: RunPaper, capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Return the one line with which a command is refused, having written nothing."""
    assert run_paper(*words) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and captured.err.startswith("paper: ")
    assert not Path("outputs").exists()
    return captured.err


def test_an_unknown_sweep_is_refused_with_near_matches(
    writer: SweepWriter, run_paper: RunPaper, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refuse(run_paper, capsys, "decided", "hostil", "--tracking-uri", writer.uri)
    assert "no sweep 'hostil' in the tracking store" in line and "did you mean hostile?" in line


def test_a_sweep_that_is_given_twice_is_refused(
    writer: SweepWriter, run_paper: RunPaper, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refuse(run_paper, capsys, "decided", "decided", "--tracking-uri", writer.uri)
    assert line == "paper: decided: is the sweep that decided names; give each sweep once\n"


def test_sweeps_without_a_result_are_refused(
    own_writer: SweepWriter, run_paper: RunPaper, capsys: pytest.CaptureFixture[str]
) -> None:
    own_writer.write_sweep("main", "failed", {"none": (None, None)})
    line = refuse(run_paper, capsys, "failed", "--tracking-uri", own_writer.uri)
    assert line.startswith("paper: failed: none of its 2 trials has finished (")
    own_writer.write_sweep("main", "other", {"none": (0.4,)}, experiment={**EXPERIMENT, "metrics": ["val/AR100"]})
    line = refuse(run_paper, capsys, "other", "--tracking-uri", own_writer.uri)
    assert line == "paper: other: no finished trial has logged val/AR100, its first metric\n"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": "noise_floor"}, "measures noise and compares no arms"),
        ({"search": {"space": {}, "trials": 1, "metric": "val/AP", "mode": "max"}}, "is a search"),
    ],
)
def test_what_compares_no_arms_is_refused(
    own_writer: SweepWriter,
    run_paper: RunPaper,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, object],
    reason: str,
) -> None:
    own_writer.write_sweep("main", "other", {"none": (0.4, 0.5)}, experiment={**EXPERIMENT, **changes})
    line = refuse(run_paper, capsys, "other", "--tracking-uri", own_writer.uri)
    assert reason in line and "analysis/report.py other" in line


def test_a_store_that_cannot_be_read_is_refused(
    run_paper: RunPaper, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "no tracking store at" in refuse(run_paper, capsys, "any", "--tracking-uri", "sqlite:///absent.db")
    (tmp_path / "broken.db").write_bytes(b"no database" * 100)
    assert "cannot be read" in refuse(run_paper, capsys, "any", "--tracking-uri", "sqlite:///broken.db")


def test_a_sweep_that_still_runs_is_marked_as_such(
    own_writer: SweepWriter, run_paper: RunPaper, tmp_path: Path
) -> None:
    own_writer.write_sweep("main", "running", status="RUNNING")
    assert run_paper("running", "--tracking-uri", own_writer.uri, "--output", tmp_path / "out") == 0
    assert "running was still running: these are its numbers so far." in (tmp_path / "out" / "table.tex").read_text()


def test_commands_name_a_sweep_and_its_archive_as_words_of_a_shell(
    own_writer: SweepWriter, run_paper: RunPaper, tmp_path: Path
) -> None:
    own_writer.write_sweep("main", "two words; once")
    assert run_paper("two words; once", "--tracking-uri", own_writer.uri, "--output", tmp_path / "texts") == 0
    for name in ("checklist.md", "model_card.md"):
        text = (tmp_path / "texts" / name).read_text()
        assert "analysis/publish.py 'two words; once'" in text
        assert "orchestration/retrain.py outputs/two_words_once/two_words_once.zip" in text
