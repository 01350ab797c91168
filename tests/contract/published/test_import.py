"""Importing: a foreign sweep enters a store as what it is; its seeds join a table, its laboratory is a factor."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from analysis import report
from analysis.reader.client import StoreError, connect
from analysis.reader.runs import list_sweeps, read_sweep, read_sweeps_with_paper_rows
from fcos.errors import ConfigError
from fcos.published.archive import ArchiveError
from orchestration import import_sweep
from orchestration.cli.lock import FolderInUse, lock_folder
from orchestration.tracking.history import open_history
from orchestration.tracking.store import Store
from tests.helpers.experiments.published import flip, publish_sweep, repack, unpack, write_evaluated_sweep
from tests.helpers.experiments.stored_sweeps import SweepWriter
from tests.helpers.stand_in_figures import stand_in_figures


def make_store(folder: Path, name: str, seeds: tuple[int, ...], **params: str) -> SweepWriter:
    """Return a store with one evaluated sweep."""
    (folder / "images").mkdir(parents=True)
    writer = SweepWriter(f"sqlite:///{folder / 'mlflow.db'}", folder)
    write_evaluated_sweep(writer, name, folder / "images", seeds=seeds, params=params)
    return writer


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> SweepWriter:
    """One's own store, with seeds 0 to 2 of `mine`; archives of others are imported into it."""
    writer = make_store(tmp_path_factory.mktemp("own"), "mine", (0, 1, 2))
    others = {"later": ((3, 4, 5, 6), {}), "same": ((0, 1, 2), {}), "wider": ((7,), {"model.fpn.channels": "512"})}
    for name, (seeds, params) in others.items():
        folder = tmp_path_factory.mktemp(name)
        theirs = make_store(folder, name, seeds, **params)
        with stand_in_figures():
            file = publish_sweep(theirs.uri, name, folder / f"{name}.zip", "--laboratory", f"lab {name}")
        assert run_import(writer, file) == 0
    return writer


def run_import(writer: SweepWriter, file: Path, *options: str) -> int:
    return import_sweep.main(
        [str(file), "--tracking-uri", writer.uri, "--output", str(writer.folder / "out"), *options]
    )


def write(writer: SweepWriter, folder: Path, *options: str) -> Any:
    words = ["mine", "--tracking-uri", writer.uri, "--output", str(folder), "--resamples", "100", *options]
    assert report.main(words) == 0
    return json.loads((folder / "report.json").read_text())


def test_an_imported_sweep_has_its_runs_values_and_files_and_names_where_they_come_from(
    own: SweepWriter, tmp_path: Path
) -> None:
    words = ["later@lab later", "--tracking-uri", own.uri, "--output", str(tmp_path), "--resamples", "100"]
    assert report.main(words) == 0
    imported = json.loads((tmp_path / "report.json").read_text())
    assert [value["seed"] for value in imported["values"] if value["arm"] == "none"][:4] == [3, 4, 5, 6]
    assert {row["laboratory"] for row in imported["provenance"]} == {"lab later"}
    assert all(len(row["archive"]) == 64 and row["trained_by"] == row["run_id"] for row in imported["provenance"])
    lines = imported["limitations"]
    assert any(line.startswith("Trained by lab later and imported from its archive ") for line in lines)
    assert "itself at lab later" in (tmp_path / "report.md").read_text()
    # Detections came along: the metrics on resampled images follow from them.
    assert imported["other_images"]


def refuse_the_second_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the store refuse the points of the second run that is written."""
    log, calls = Store.log_repeated_points, []

    def refuse(store: Store, run_id: str, points: Any) -> None:
        calls.append(run_id)
        if len(calls) == 2:
            raise OSError("no space left")
        log(store, run_id, points)

    monkeypatch.setattr(Store, "log_repeated_points", refuse)


def test_an_archive_is_imported_once_and_what_was_left_unfinished_is_done_anew(
    own: SweepWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = make_store(tmp_path / "theirs", "twice", (0,))
    file = publish_sweep(theirs.uri, "twice", tmp_path / "twice.zip", "--laboratory", "lab")
    before = len(list_sweeps(connect(own.uri)))
    refuse_the_second_run(monkeypatch)
    with pytest.raises(ConfigError, match=r"tracking\.uri=.*: the store .*: no space left"):
        run_import(own, file)
    assert len(list_sweeps(connect(own.uri))) == before
    monkeypatch.undo()
    assert run_import(own, file) == 0
    assert run_import(own, file) == 0
    assert "nothing to do" in capsys.readouterr().out
    names = [entry.name for entry in list_sweeps(connect(own.uri))]
    assert names.count("twice@lab") == 1
    assert len(read_sweep(own.uri, "twice@lab").current) == 2


@pytest.fixture(scope="module")
def nameless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of a sweep of one seed, which names no laboratory."""
    folder = tmp_path_factory.mktemp("nameless")
    theirs = make_store(folder / "theirs", "nameless", (0,))
    with stand_in_figures():
        return publish_sweep(theirs.uri, "nameless", folder / "nameless.zip")


def test_a_damaged_archive_and_one_without_a_laboratory_are_not_imported(
    own: SweepWriter, nameless: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="names no laboratory; give --laboratory"):
        run_import(own, nameless)
    position = nameless.read_bytes().index(b"fcos.identity")
    with pytest.raises(ArchiveError, match="is damaged"):
        run_import(own, flip(nameless, position, tmp_path / "flipped.zip"), "--laboratory", "lab")


def test_imported_trainings_are_not_taken_over_by_sweeps(own: SweepWriter) -> None:
    history = open_history(own.uri, own.folder)
    assert history is not None
    assert all("fcos.archive" not in run.tags for run in history.newest())
    assert all("fcos.archive" not in run.tags for run in history.of_training("7a" * 32))
    assert history.of_training("7a" * 32)


def test_seeds_of_another_laboratory_join_a_table_marked_by_origin(own: SweepWriter, tmp_path: Path) -> None:
    joined = write(own, tmp_path, "--join", "later@lab later")
    assert joined["sweep"]["name"] == "mine + later@lab later"
    summary = next(row for row in joined["summaries"] if (row["metric"], row["arm"]) == ("val/AP", "branch"))
    assert summary["n"] == 7
    assert joined["comparisons"][0]["num_pairs"] == 7
    assert joined["experiment"]["looks"] == [3]
    by_seed = {row["seed"]: row["laboratory"] for row in joined["provenance"] if row["arm"] == "branch"}
    assert by_seed == {0: "", 1: "", 2: "", **dict.fromkeys((3, 4, 5, 6), "lab later")}
    assert any(note.startswith("4 seeds of later@lab later (trained by lab later) joined") for note in joined["notes"])


def test_seeds_that_are_here_already_are_compared_and_count_once(
    own: SweepWriter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["mine", "--tracking-uri", own.uri, "--output", str(tmp_path), "--join", "same@lab same"]
    assert report.main(words) == 2
    message = capsys.readouterr().err
    assert "no seed can join mine" in message and "6 trials of same@lab same repeat ones that are here" in message
    assert "6 with the same val/AP" in message


def test_trainings_of_other_settings_do_not_join(
    own: SweepWriter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["mine", "--tracking-uri", own.uri, "--output", str(tmp_path), "--join", "wider@lab wider"]
    assert report.main(words) == 2
    assert "is another training, by model.fpn.channels" in capsys.readouterr().err


def test_two_laboratories_are_compared_with_the_laboratory_as_a_factor(own: SweepWriter, tmp_path: Path) -> None:
    compared = write(own, tmp_path, "--laboratories", "same@lab same")
    effects = {effect["effect"]: effect for effect in compared["factorial"]["effects"] if effect["metric"] == "val/AP"}
    assert set(effects) == {"arm", "laboratory", "arm*laboratory"}
    # The same trainings: nothing is due to the laboratory, all to the arm.
    assert effects["laboratory"]["difference"] == pytest.approx(0, abs=1e-12)
    assert abs(effects["arm"]["difference"]) > 0.001
    assert compared["experiment"]["arms"] == ["none+here", "none+lab same", "branch+here", "branch+lab same"]


def test_seeds_that_only_one_laboratory_has_are_paired_in_their_order_with_a_note(
    own: SweepWriter, tmp_path: Path
) -> None:
    compared = write(own, tmp_path, "--laboratories", "later@lab later")
    assert any("0 with 3, 1 with 4 and 2 with 5" in note for note in compared["notes"])
    assert compared["experiment"]["seeds"] == [0, 1, 2]


def change_runs(file: Path, folder: Path, tags: dict[str, str]) -> Path:
    """Return an archive whose trials have other tags, as its publisher would have packed it."""
    files = unpack(file, folder)
    for path in (files / "trials").glob("*/run.json"):
        run = json.loads(path.read_text())
        run["tags"] |= tags
        path.write_text(json.dumps(run))
    return repack(file, files, folder.with_suffix(".zip"))


def test_runs_of_an_archive_cannot_enter_ones_own_sweep(own: SweepWriter, foreign: Path, tmp_path: Path) -> None:
    before = read_sweep(own.uri, "mine")
    changed = change_runs(foreign, tmp_path / "changed", {"mlflow.parentRunId": before.run_id})
    with pytest.raises(ArchiveError, match="is no trial of run"):
        run_import(own, changed)
    assert [trial.run_id for trial in read_sweep(own.uri, "mine").trials] == [trial.run_id for trial in before.trials]


def test_a_header_that_names_no_run_of_the_archive_is_refused(own: SweepWriter, foreign: Path, tmp_path: Path) -> None:
    files = unpack(foreign, tmp_path / "changed")
    header = json.loads((files / "archive.json").read_text())
    (files / "archive.json").write_text(json.dumps({**header, "run_id": "0" * 32}))
    with pytest.raises(ArchiveError, match=r"is no trial of run 0000|names another|there is none"):
        run_import(own, repack(foreign, files, tmp_path / "changed.zip"))


def test_only_published_tags_of_an_archive_are_taken_and_its_trials_are_trials(
    own: SweepWriter, tmp_path: Path
) -> None:
    theirs = make_store(tmp_path / "theirs", "tagged", (0,))
    file = publish_sweep(theirs.uri, "tagged", tmp_path / "tagged.zip", "--laboratory", "lab")
    tags = {"fcos.kind": "sweep", "fcos.sweep_key": "k", "fcos.folder": "/x", "mlflow.user": "eve"}
    assert run_import(own, change_runs(file, tmp_path / "changed", tags)) == 0
    trials = read_sweep(own.uri, "tagged@lab").trials
    assert len(trials) == 2
    for trial in trials:
        stored = own.client.get_run(trial.run_id).data.tags
        assert stored["fcos.kind"] == "trial" and stored["fcos.sweep"] == "tagged@lab"
        assert not {"fcos.sweep_key", "fcos.folder"} & set(stored) and stored.get("mlflow.user") != "eve"


def test_runs_without_a_laboratory_have_that_of_the_command(own: SweepWriter, nameless: Path) -> None:
    assert run_import(own, nameless, "--laboratory", "lab of a name") == 0
    sweep = read_sweep(own.uri, "nameless@lab of a name")
    assert {trial.provenance.laboratory for trial in sweep.trials} == {"lab of a name"}


def test_an_archive_that_cannot_be_extracted_here_is_named(
    own: SweepWriter, foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = shutil.copyfile(foreign, tmp_path / "full.zip")

    def refuse(*_: Any) -> Any:
        raise OSError("No space left on device")

    monkeypatch.setattr("fcos.published.archive.shutil.copyfileobj", refuse)
    with pytest.raises(ConfigError, match=r"full\.zip: cannot be read and extracted here: No space left"):
        run_import(own, file)


def test_a_seed_of_which_one_arm_is_another_training_does_not_join(own: SweepWriter, tmp_path: Path) -> None:
    theirs = make_store(tmp_path / "theirs", "mixed", (8, 9))
    of_seed = "tags.`fcos.arm` = 'branch' and tags.`fcos.seed` = '9'"
    (run,) = theirs.client.search_runs([theirs.experiment_id("mixed")], of_seed)
    theirs.client.log_param(run.info.run_id, "model.fpn.channels", "512")
    file = publish_sweep(theirs.uri, "mixed", tmp_path / "mixed.zip", "--laboratory", "lab")
    assert run_import(own, file) == 0
    joined = write(own, tmp_path / "report", "--join", "mixed@lab")
    assert {row["seed"] for row in joined["provenance"]} == {0, 1, 2, 8}
    assert any(note.startswith("1 seed of mixed@lab not joined: 9, as another arm") for note in joined["notes"])


def test_a_sweep_is_not_compared_with_itself(
    own: SweepWriter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["mine", "--tracking-uri", own.uri, "--output", str(tmp_path), "--laboratories", "mine"]
    assert report.main(words) == 2
    assert "both sweeps are mine of one laboratory; each needs a name of its own" in capsys.readouterr().err


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of a sweep of one seed, which a laboratory has published."""
    folder = tmp_path_factory.mktemp("foreign")
    theirs = make_store(folder / "theirs", "foreign", (0,))
    with stand_in_figures():
        return publish_sweep(theirs.uri, "foreign", folder / "foreign.zip", "--laboratory", "lab")


def repeat_notes(uri: str, name: str) -> list[str]:
    return [note for note in read_sweep(uri, name).notes if "rained" in note]


def test_ones_own_archive_repeats_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither half of it, which an import that failed left, nor all of it, nor in two MLflow experiments."""
    ours = make_store(tmp_path / "ours", "ours", (0, 1))
    file = publish_sweep(ours.uri, "ours", tmp_path / "ours.zip", "--laboratory", "lab")
    refuse_the_second_run(monkeypatch)
    with pytest.raises(ConfigError, match="no space left"):
        run_import(ours, file)
    monkeypatch.undo()
    assert repeat_notes(ours.uri, "ours") == []
    for experiment in ("fcos-lab", "another"):
        assert run_import(ours, file, "--experiment", experiment) == 0
        assert repeat_notes(ours.uri, "ours") == repeat_notes(ours.uri, "ours@lab") == []
    imported = read_sweep(ours.uri, "ours@lab").current
    assert {trial.training for trial in imported} == {trial.run_id for trial in read_sweep(ours.uri, "ours").current}


def test_a_table_of_points_that_is_none_is_no_fault_of_the_store_and_writes_nothing(
    own: SweepWriter, foreign: Path, tmp_path: Path
) -> None:
    files = unpack(foreign, tmp_path / "changed")
    points = max((files / "trials").glob("*/points.csv"))
    points.write_text(points.read_text() + "val/AP,x,1,1\n")
    experiments = [each.experiment_id for each in own.client.search_experiments()]
    before = len(own.client.search_runs(experiments, max_results=1000))
    with pytest.raises(ArchiveError, match=r"^points\.csv of [0-9a-f]{32}, line \d+: "):
        run_import(own, repack(foreign, files, tmp_path / "changed.zip"))
    assert len(own.client.search_runs(experiments, max_results=1000)) == before


def test_an_output_that_is_a_file_is_a_mistake_of_the_command(own: SweepWriter, foreign: Path) -> None:
    message = r"^--output .*foreign\.zip: is no folder that can be written .*; give another$"
    with pytest.raises(ConfigError, match=message):
        import_sweep.main([str(foreign), "--tracking-uri", own.uri, "--output", str(foreign)])


def test_of_two_imports_at_once_the_second_is_refused(own: SweepWriter, foreign: Path) -> None:
    with lock_folder(own.folder / "out" / ".import", "now"), pytest.raises(FolderInUse, match="wait for it"):
        run_import(own, foreign)


def test_the_command_of_the_report_names_the_store(
    own: SweepWriter, foreign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_import(own, foreign) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("nothing was computed again; to do so: " in line and "verify" in line for line in lines)
    (line,) = (line for line in lines if line.startswith("its report: "))
    assert line.endswith(f"report.py {read_sweep(own.uri, 'foreign@lab').run_id} --tracking-uri {own.uri}")


def test_imported_sweeps_are_no_answers_of_ones_own_in_the_report_of_a_paper(own: SweepWriter) -> None:
    sweeps, notes = read_sweeps_with_paper_rows(own.uri)
    assert [sweep.name for sweep in sweeps] == ["mine"]
    (note,) = (note for note in notes if "imported from other laboratories left out" in note)
    assert "later@lab later" in note


def test_a_training_that_was_extended_joins_no_training_from_step_0(own: SweepWriter, tmp_path: Path) -> None:
    theirs = make_store(tmp_path / "theirs", "extended", (8, 9))
    for run in theirs.client.search_runs([theirs.experiment_id("extended")], "tags.`fcos.kind` = 'trial'"):
        theirs.client.set_tag(run.info.run_id, "fcos.extends", "e" * 64)
    file = publish_sweep(theirs.uri, "extended", tmp_path / "extended.zip", "--laboratory", "lab")
    assert run_import(own, file) == 0
    words = ["mine", "--tracking-uri", own.uri, "--output", str(tmp_path / "report")]
    for option in ("--join", "--laboratories"):
        with pytest.raises(StoreError, match="the checkpoint that it went on from"):
            combine(words, option, "extended@lab")


def combine(words: list[str], option: str, name: str) -> None:
    """Write the report of two sweeps together; raises StoreError where they cannot be."""
    options = report.parse_arguments([*words, option, name])
    combination = report.Combination(tuple(options.join), options.laboratories)
    report.write_report("mine", options.tracking_uri, options.output, resamples=0, combination=combination)


def test_a_run_of_a_time_to_come_is_not_imported(own: SweepWriter, foreign: Path, tmp_path: Path) -> None:
    """It would be the newest of the store for ever, and behind all dates no sweep could be listed."""
    files = unpack(foreign, tmp_path / "changed")
    path = files / "sweep" / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "start": 10**18}))
    with pytest.raises(ArchiveError, match=r"^run\.json of sweep: start: .*later than now"):
        run_import(own, repack(foreign, files, tmp_path / "changed.zip"))
    assert max(entry.started for entry in list_sweeps(connect(own.uri))).year < 2100


@pytest.mark.parametrize("text", ["7", '{"name": "x", "name": "y"}'])
def test_an_experiment_that_no_report_could_read_is_not_imported(
    own: SweepWriter, foreign: Path, tmp_path: Path, text: str
) -> None:
    files = unpack(foreign, tmp_path / "changed")
    (files / "sweep" / "experiment.json").write_text(text)
    with pytest.raises(ArchiveError, match=r"^experiment\.json of sweep: "):
        run_import(own, repack(foreign, files, tmp_path / "changed.zip"))
