"""Publishing: the same sweep gives the same bytes, all that a report needs is there, and nothing that is private."""

import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from analysis import publish, report, verify
from analysis.reader.runs import read_sweep
from fcos.published.crate import check_files
from fcos.published.layout import METADATA
from orchestration import import_sweep
from tests.helpers.experiments.published import publish_sweep, unpack, write_evaluated_sweep
from tests.helpers.experiments.stored_sweeps import EXPERIMENT, SweepWriter


def read_all(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def test_the_same_sweep_gives_the_same_bytes_from_a_copied_store(
    evaluated: SweepWriter, archive: Path, tmp_path: Path
) -> None:
    again = publish_sweep(evaluated.uri, "drawn", tmp_path / "again.zip", "--laboratory", "Lab of Alice")
    assert again.read_bytes() == archive.read_bytes()
    shutil.copytree(evaluated.folder, tmp_path / "copy")
    copied = f"sqlite:///{tmp_path / 'copy' / 'mlflow.db'}"
    elsewhere = publish_sweep(copied, "drawn", tmp_path / "copied.zip", "--laboratory", "Lab of Alice")
    assert elsewhere.read_bytes() == archive.read_bytes()


def test_what_machines_measured_is_not_published(evaluated: SweepWriter, archive: Path, tmp_path: Path) -> None:
    shutil.copytree(evaluated.folder, tmp_path / "copy")
    copied = f"sqlite:///{tmp_path / 'copy' / 'mlflow.db'}"
    client = MlflowClient(copied)
    experiment = client.get_experiment_by_name("drawn")
    assert experiment is not None
    for run in client.search_runs([experiment.experiment_id], "tags.`fcos.kind` = 'trial'"):
        client.log_metric(run.info.run_id, "system/cpu_utilization_percentage", 50.0)
    measured = publish_sweep(copied, "drawn", tmp_path / "measured.zip", "--laboratory", "Lab of Alice")
    assert measured.read_bytes() == archive.read_bytes()


def test_an_archive_has_plan_runs_points_detections_report_and_metadata(archive: Path, tmp_path: Path) -> None:
    files = read_all(archive)
    assert {"archive.json", METADATA, "report/report.html", "report/report.json", "sweep/run.json"} <= set(files)
    trials = {name.split("/")[1] for name in files if name.startswith("trials/")}
    assert len(trials) == 6
    own = ("run.json", "points.csv", "config.json", "versions.json", "detections/000000000139.png")
    evaluation = ("evaluation/index.json", "evaluation/annotations.json.gz", "evaluation/results.json.gz")
    assert {f"trials/{trial}/{name}" for trial in trials for name in (*own, *evaluation)} <= set(files)
    assert check_files(unpack(archive, tmp_path / "out")) == len(files) - 1
    crate = json.loads(files[METADATA])
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    assert entities[METADATA]["about"] == {"@id": "./"}
    parts = {part["@id"] for part in entities["./"]["hasPart"]}
    assert parts == set(files) - {METADATA}
    assert entities["#laboratory"]["name"] == "Lab of Alice"


def test_the_report_in_an_archive_has_the_values_of_the_store(evaluated: SweepWriter, archive: Path) -> None:
    report = json.loads(read_all(archive)["report/report.json"])
    runs = {
        run.info.run_id: run.data.metrics for run in evaluated.client.search_runs([evaluated.experiment_id("drawn")])
    }
    of_ap = [value for value in report["values"] if value["metric"] == "val/AP"]
    assert len(of_ap) == 6
    assert all(value["value"] == runs[value["run_id"]]["val/AP"] for value in of_ap)
    assert [verdict["arm"] for verdict in report["verdicts"]] == ["branch"]


def test_paths_that_a_configuration_names_are_replaced_by_its_keys(archive: Path) -> None:
    files = read_all(archive)
    assert not [name for name, content in files.items() if b"alice" in content]
    run = json.loads(
        next(content for name, content in files.items() if name.endswith("/run.json") and "trials" in name)
    )
    assert run["params"]["data.root"] == "<data.root>"
    assert run["tags"]["fcos.notes"] == "1 box of <data.root>/train.json is not trained on"
    assert not {"fcos.checkpoint", "fcos.folder", "mlflow.user", "mlflow.source.name"} & set(run["tags"])
    config = next(content for name, content in files.items() if name.endswith("/config.json"))
    assert json.loads(config)["data"]["root"] == "<data.root>"


@pytest.fixture
def noted(tmp_path: Path, request: pytest.FixtureRequest) -> SweepWriter:
    """A store with a single run, whose note is the parameter of the test."""
    writer = SweepWriter(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)
    writer.write_sweep("noted", "noted", {"none": (0.4,)})
    (run,) = writer.client.search_runs([writer.experiment_id("noted")], "tags.`fcos.kind` = 'trial'")
    writer.client.set_tag(run.info.run_id, "fcos.notes", request.param)
    return writer


PRIVATE = {
    "an image of /home/bob/photos is left out": "a home folder",
    "cannot read /mnt/nas7/project/a.png": "an absolute path",
    "cannot read C:\\Users\\bob\\a.png": "a home folder",
    "the store postgresql://bob:hunter2@db/x was away": "an address with a password",
    "the store http://tracking.example.org:5000 was away": "an address on a network",
    "the node 10.31.7.4 was lost": "a network address",
    "the node fe80::1ff:fe23:4567:890a was lost": "a network address",
    "ask bob.jones@example.org": "an e-mail address",
}


def test_what_is_private_elsewhere_is_refused_with_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(publish, "MOST_FINDINGS", 1000)
    writer = SweepWriter(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)
    experiment = {**EXPERIMENT, "seeds": list(range(len(PRIVATE)))}
    writer.write_sweep("noted", "noted", {"none": (0.4,) * len(PRIVATE)}, experiment=experiment)
    runs = writer.client.search_runs([writer.experiment_id("noted")], "tags.`fcos.kind` = 'trial'")
    for run, note in zip(runs, PRIVATE, strict=True):
        writer.client.set_tag(run.info.run_id, "fcos.notes", note)
    file = tmp_path / "noted.zip"
    assert publish.main(["noted", "--tracking-uri", writer.uri, "--output", str(file)]) == 2
    output = capsys.readouterr().out
    for run, (note, kind) in zip(runs, PRIVATE.items(), strict=True):
        assert re.search(rf"^trials/{run.info.run_id}/run\.json:\d+: {kind}: ", output, re.MULTILINE), note
    assert "--hide" in output
    assert not file.exists() and not list(tmp_path.glob(".*part"))


@pytest.mark.parametrize("noted", ["the node turing-07 was lost, which gauss started"], indirect=True)
def test_names_of_user_and_machine_are_refused_until_they_are_hidden(
    noted: SweepWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("analysis.publishing.private.getpass.getuser", lambda: "gauss")
    monkeypatch.setattr("analysis.publishing.private.platform.node", lambda: "turing-07.cluster")
    words = ["noted", "--tracking-uri", noted.uri, "--output", str(tmp_path / "noted.zip")]
    assert publish.main(words) == 2
    assert "the name of the user or of the machine" in capsys.readouterr().out
    assert publish.main([*words, "--hide", "turing-07", "--hide", "gauss"]) == 0
    notes = json.loads(read_all(tmp_path / "noted.zip")["report/report.json"])["notes"]
    assert "none seed 0: the node <hidden> was lost, which <hidden> started." in notes


@pytest.mark.parametrize("noted", ["version 10.31.7.4 of a library was used"], indirect=True)
def test_what_only_looks_private_can_be_allowed(noted: SweepWriter, tmp_path: Path) -> None:
    words = ["noted", "--tracking-uri", noted.uri, "--output", str(tmp_path / "noted.zip")]
    assert publish.main([*words, "--allow", "10.31.7.4"]) == 0


def test_a_list_names_every_file_with_its_size_and_writes_none(
    evaluated: SweepWriter,
    archive: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["drawn", "--tracking-uri", evaluated.uri, "--resamples", "100", "--laboratory", "Lab of Alice", "--list"]
    assert publish.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, content in read_all(archive).items():
        assert f"{len(content):>13,}  {name}" in lines
    assert any(line.startswith("replaced: ") and "<data.root>" in line for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_pictures_can_be_left_out(evaluated: SweepWriter, tmp_path: Path) -> None:
    file = publish_sweep(evaluated.uri, "drawn", tmp_path / "drawn.zip", "--no-pictures")
    assert not [name for name in read_all(file) if name.endswith(".png")]


def test_a_sweep_that_is_not_there_is_named(
    tmp_path: Path, evaluated: SweepWriter, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish.main(["dawn", "--tracking-uri", evaluated.uri, "--output", str(tmp_path / "x.zip")]) == 2
    assert "did you mean drawn?" in capsys.readouterr().err


@pytest.mark.parametrize("noted", ["seen at turing-gauss.cluster"], indirect=True)
def test_a_text_to_hide_that_is_still_there_is_refused(
    noted: SweepWriter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["noted", "--tracking-uri", noted.uri, "--output", str(tmp_path / "noted.zip")]
    assert publish.main([*words, "--hide", "gauss"]) == 2
    assert "run.json:" in (output := capsys.readouterr().out) and "a text to be hidden" in output
    assert publish.main([*words, "--hide", "gauss", "--license", "by gauss", "--hide", "turing-gauss"]) == 2
    assert "ro-crate-metadata.json:" in (output := capsys.readouterr().out) and "a text to be hidden" in output
    assert publish.main([*words, "--hide", "gauss", "--hide", "turing-gauss"]) == 0


@pytest.mark.parametrize("noted", ["nothing"], indirect=True)
def test_a_name_of_a_sweep_can_be_hidden(noted: SweepWriter, tmp_path: Path) -> None:
    file = tmp_path / "x.zip"
    words = ["noted", "--tracking-uri", noted.uri, "--output", str(file), "--resamples", "100", "--hide", "noted"]
    assert publish.main(words) == 0
    with zipfile.ZipFile(file) as archive:
        assert not [name for name in archive.namelist() if "noted" in name]
        assert not [name for name in archive.namelist() if b"noted" in archive.read(name)]


@pytest.mark.parametrize("noted", ["\x1b[31mred\x1b[0m\n\tand \x07loud"], indirect=True)
def test_characters_that_steer_a_terminal_are_left_out(noted: SweepWriter, tmp_path: Path) -> None:
    file = publish_sweep(noted.uri, "noted", tmp_path / "noted.zip")
    runs = [json.loads(content) for name, content in read_all(file).items() if name.endswith("/run.json")]
    assert "red\n\tand loud" in [run["tags"].get("fcos.notes") for run in runs]


@pytest.fixture
def own(tmp_path: Path) -> SweepWriter:
    """A store of the test's own with the evaluated sweep `own`: two arms, one seed."""
    writer = SweepWriter(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)
    (tmp_path / "images").mkdir()
    write_evaluated_sweep(writer, "own", tmp_path / "images", seeds=(0,))
    return writer


def publish_own(own: SweepWriter, *options: str) -> tuple[int, Path]:
    file = own.folder / "own.zip"
    words = ["own", "--tracking-uri", own.uri, "--output", str(file), "--resamples", "100", *options]
    return publish.main(words), file


@pytest.mark.parametrize(
    ("name", "missing", "unverified"),
    [
        ("config.json", "config.json of branch seed 0, by which it can be trained again: the store has none", "branch"),
        ("plan.json", "plan.json of own, by which its trials were planned: the store has none", "whether all trials"),
    ],
)
def test_a_plan_or_a_configuration_that_is_gone_is_refused_or_left_out_by_choice(
    own: SweepWriter, capsys: pytest.CaptureFixture[str], name: str, missing: str, unverified: str
) -> None:
    (run,) = own.client.search_runs(
        [own.experiment_id("own")],
        "tags.`fcos.kind` = 'sweep'" if name == "plan.json" else "tags.`fcos.arm` = 'branch'",
    )
    (own.folder / "mlartifacts" / run.info.run_id / "artifacts" / name).unlink()
    code, file = publish_own(own)
    assert code == 2 and not file.exists()
    assert f"publish: {missing}; --incomplete publishes without it" in capsys.readouterr().err
    code, file = publish_own(own, "--incomplete")
    assert code == 0 and f"note: left out: {missing}" in capsys.readouterr().out
    assert verify.main([str(file)]) == 0
    assert re.search(rf"NOT VERIFIED +without {re.escape(name)}.*{unverified}", capsys.readouterr().out)


def check_refused_plan(own: SweepWriter, capsys: pytest.CaptureFixture[str], *messages: str) -> None:
    """Check that a sweep whose plan is not whole is refused with messages, and published without it by choice."""
    code, file = publish_own(own)
    refusal = capsys.readouterr().err
    assert code == 2 and not file.exists()
    assert all(message in refusal for message in messages), refusal
    code, file = publish_own(own, "--incomplete")
    assert code == 0 and "sweep/plan.json" not in read_all(file)


def test_a_plan_that_lacks_trainings_is_refused_or_left_out_by_choice(
    own: SweepWriter, capsys: pytest.CaptureFixture[str]
) -> None:
    (parent,) = own.client.search_runs([own.experiment_id("own")], "tags.`fcos.kind` = 'sweep'")
    own.client.log_dict(parent.info.run_id, {"code": "c" * 64, "trials": []}, "plan.json")
    lacks = "plan.json in the store lacks branch seed 0 and none seed 0: the last command of own was killed"
    check_refused_plan(own, capsys, lacks, "The same command again completes it")


def test_a_plan_of_other_looks_than_those_of_the_run_is_refused_or_left_out_by_choice(
    own: SweepWriter, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its artifacts could not be stored when the last command ended, and its tags could."""
    (parent,) = own.client.search_runs([own.experiment_id("own")], "tags.`fcos.kind` = 'sweep'")
    run_id = parent.info.run_id
    path = own.folder / "mlartifacts" / run_id / "artifacts" / "plan.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "looks": [3]}))
    for tag, value in (("fcos.status", "finished"), ("fcos.looks", "[3, 6]")):
        own.client.set_tag(run_id, tag, value)
    other = "plan.json in the store is not that of the last command of own, which could not store it"
    looks = "fcos.looks is [3, 6], and plan.json has looks after [3] seeds). The same command again stores it"
    check_refused_plan(own, capsys, other, looks)


def test_a_laboratory_is_published_without_marks_that_names_of_some_languages_have(own: SweepWriter) -> None:
    code, file = publish_own(own, "--laboratory", "Lab\u200c of\u200f Alice\u200e")
    assert code == 0
    files = read_all(file)
    runs = [json.loads(content) for name, content in files.items() if name.endswith("/run.json")]
    named = [json.loads(files["archive.json"])["laboratory"], *(run["tags"]["fcos.laboratory"] for run in runs)]
    assert set(named) == {"Lab of Alice"}


def test_what_cannot_be_read_as_a_picture_is_named(own: SweepWriter, capsys: pytest.CaptureFixture[str]) -> None:
    (run,) = own.client.search_runs([own.experiment_id("own")], "tags.`fcos.arm` = 'branch'")
    own.client.log_text(run.info.run_id, "no picture", "detections/000000000139.png")
    code, _ = publish_own(own)
    assert code == 0
    assert "note: left out: 000000000139.png of branch seed 0: is no picture" in capsys.readouterr().out


def test_the_address_of_an_extracted_archive_is_no_store(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody has held its files against anything."""
    address = f"published:{unpack(archive, tmp_path / 'out')}"
    assert publish.main(["drawn", "--tracking-uri", address]) == 2
    assert report.main(["drawn", "--tracking-uri", address]) == 2
    assert capsys.readouterr().err.count("is no tracking store; an archive is read by analysis/verify.py FILE") == 2


def test_a_training_that_was_done_again_under_another_name_is_in_the_published_report(own: SweepWriter) -> None:
    """With its value, its run and the reason, also where the archive is imported."""
    again = own.write_sweep("own", "again", {}, experiment=None)
    run = own.write_trial("own", again, "branch", 0, 0.123)
    counted = next(trial for trial in read_sweep(own.uri, "own").current if trial.arm == "branch")
    own.client.set_tag(run, "fcos.identity", counted.provenance.identity)
    own.client.set_tag(run, "fcos.retrain_reason", "another processor")
    code, file = publish_own(own, "--laboratory", "lab")
    assert code == 0
    notes = json.loads(read_all(file)["report/report.json"])["notes"]
    listed = [note for note in notes if f"trained otherwise it was 12.3 (run {run[:8]})" in note]
    assert listed and "The reason stated for training again: another processor." in notes
    assert verify.main([str(file)]) == 0
    elsewhere = own.folder / "elsewhere"
    assert import_sweep.main([str(file), "--output", str(elsewhere)]) == 0
    imported = read_sweep(f"sqlite:///{elsewhere / 'mlflow.db'}", "own@lab")
    assert any(f"trained otherwise it was 12.3 (run {run[:8]})" in note for note in imported.notes)


def test_what_an_archive_holds_is_printed_before_it_is_written(
    evaluated: SweepWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed: list[str] = []

    def refuse(*_: object) -> None:
        printed.append(capsys.readouterr().out)
        raise OSError("No space left on device")

    monkeypatch.setattr("fcos.published.archive.write_archive", refuse)
    file = tmp_path / "drawn.zip"
    words = ["drawn", "--tracking-uri", evaluated.uri, "--output", str(file), "--resamples", "100"]
    assert publish.main(words) == 2 and not file.exists()
    assert re.search(r"^ +[\d,]+  sweep/run\.json$", printed[0], re.M)
    assert re.search(r"^ +[\d,]+  bytes in \d+ files$", printed[0], re.M)
