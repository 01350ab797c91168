"""Verifying: offline; every file, every number and the verdicts, and what was changed is named."""

import gzip
import json
import re
import shutil
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from analysis import verify
from analysis.publishing.archive_report import render_archive_report
from fcos.published.archive import write_archive
from fcos.published.crate import CrateFacts, compute_id, write_metadata
from fcos.published.layout import HEADER, METADATA
from fcos.published.records import ArchiveHeader, read_record
from tests.helpers.detections.evaluations import replace_text, text_of
from tests.helpers.experiments.published import QUALITY, flip, unpack
from tests.helpers.experiments.stored_sweeps import SweepWriter

Verify = Callable[..., tuple[int, str]]


@pytest.fixture
def run_verify(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Verify:
    """verify.main without a network; returns the exit code and what was printed."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("nothing is asked of a network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)

    def run(*arguments: object) -> tuple[int, str]:
        code = verify.main([str(argument) for argument in arguments])
        return code, capsys.readouterr().out

    return run


@pytest.fixture
def change(archive: Path, tmp_path: Path) -> Callable[[Callable[[Path], object]], Path]:
    """Changes the contents of the archive and packs it again, with digests that say so, as malice would."""

    def changed(work: Callable[[Path], object]) -> Path:
        folder = unpack(archive, tmp_path / "changed")
        work(folder)
        header = read_record(folder / HEADER, ArchiveHeader)
        (folder / METADATA).unlink()
        write_metadata(folder, CrateFacts(header, 0, "", "", ""))
        write_archive(folder, folder.name, tmp_path / "changed.zip")
        return tmp_path / "changed.zip"

    return changed


def first_trial(folder: Path) -> Path:
    return min((folder / "trials").iterdir())


def set_tags(tags: Mapping[str, str], folder: Path) -> None:
    """Give the first trial other tags."""
    file = first_trial(folder) / "run.json"
    run = json.loads(file.read_text())
    run["tags"] |= tags
    file.write_text(json.dumps(run))


def test_an_archive_verifies_offline_down_to_its_verdicts(archive: Path, run_verify: Verify, tmp_path: Path) -> None:
    code, output = run_verify(archive)
    assert code == 0, output
    archive_id = compute_id(unpack(archive, tmp_path / "out"))
    assert re.search(rf"^intact +\d+ files .*id {archive_id}$", output, re.MULTILINE)
    assert re.search(
        r"^recomputed +\d+ metrics of 6 trials from \d+ detections, equal to the last digit$", output, re.M
    )
    assert re.search(r"^recomputed +\d+ numbers of report/report\.json, equal to the last digit$", output, re.M)
    assert re.search(r"^recomputed +1 verdict and all other texts: the same$", output, re.M)
    assert "retrain" in output and "drawn of Lab of Alice" in output
    assert re.search(r"^holds +intact and recomputed, except", output.splitlines()[-1])
    assert run_verify(archive, "--id", archive_id)[0] == 0
    code, output = run_verify(archive, "--id", "0" * 64)
    assert code == 1 and "this is another archive" in output
    assert re.search(r"^holds +none: ", output.splitlines()[-1])


def test_a_flipped_byte_ends_with_1_and_the_name_of_the_file(archive: Path, run_verify: Verify, tmp_path: Path) -> None:
    content = archive.read_bytes()
    position = content.index(b"fcos.identity")
    code, output = run_verify(flip(archive, position, tmp_path / "flipped.zip"))
    assert code == 1
    assert re.search(r"drawn/trials/[0-9a-f]{32}/run\.json is damaged", output)


def test_other_detections_are_named_by_trial_and_metric(change: Any, run_verify: Verify) -> None:
    def forge(folder: Path) -> None:
        evaluation = first_trial(folder) / "evaluation"
        results = json.loads(text_of(evaluation / "results.json.gz"))
        replace_text(evaluation, "results.json.gz", json.dumps(results[1:]), detections=len(results) - 1)

    code, output = run_verify(change(forge))
    assert code == 1
    assert re.search(
        r"DIFFERS +(none|branch) seed \d: val/\w+ is 0\.\d+ at step 1200, computed from its detections 0", output
    )


def test_a_changed_metric_point_is_named_by_value_and_step(change: Any, run_verify: Verify) -> None:
    def forge(folder: Path) -> None:
        file = first_trial(folder) / "points.csv"
        file.write_text(re.sub(r"(?m)^(val/AP,1200,\d+),.*$", r"\1,0.9876", file.read_text()))

    code, output = run_verify(change(forge))
    assert code == 1
    assert "val/AP is 0.9876 at step 1200" in output
    assert re.search(
        r"DIFFERS +report/report\.json \$\.values\[\d+\]\.value: is 0\.\d+, computed again 0\.9876", output
    )


def test_another_number_in_the_report_is_named_by_its_path(change: Any, run_verify: Verify) -> None:
    def forge(folder: Path) -> None:
        file = folder / "report" / "report.json"
        report = json.loads(file.read_text())
        report["comparisons"][0]["difference"] += 1e-6
        report["verdicts"][0]["text"] = "higher than none, surely"
        file.write_text(json.dumps(report, indent=1) + "\n")

    code, output = run_verify(change(forge))
    assert code == 1
    assert "report/report.json $.comparisons[0].difference: is " in output
    assert '$.verdicts[0].text: is "higher than none, surely", computed again "too few seeds to tell' in output


def test_another_text_in_the_page_is_named_by_its_line(change: Any, run_verify: Verify) -> None:
    def forge(folder: Path) -> None:
        file = folder / "report" / "report.html"
        file.write_text(file.read_text().replace("</h1>", "<script>alert(1)</script></h1>"))

    code, output = run_verify(change(forge))
    assert code == 1 and re.search(r"report/report\.html, line \d+: is not what its numbers give", output)


def test_a_run_of_another_identity_or_data_is_named(change: Any, run_verify: Verify) -> None:
    forged = {"fcos.data_digest": "e" * 64, "mlflow.parentRunId": "0" * 32}
    code, output = run_verify(change(partial(set_tags, forged)))
    assert code == 1
    assert "its detections are on other data (dddddddddddd) than its run names" in output
    assert re.search(r"trials/[0-9a-f]{32} is no trial of run", output)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("archive.json", "[" * 100_000),
        ("archive.json", '{"format": 2}'),
        ("trials/run.json", '{"run_id": "../../x"}'),
        ("trials/points.csv", "key,step,time,value\nval/AP,x,1,1\n"),
        ("trials/points.csv", "\x00\x00"),
        ("sweep/experiment.json", "7"),
        ("sweep/experiment.json", '{"name": "x", "name": "y"}'),
        ("sweep/experiment.json", '{"name": "x", "arms": 7}'),
        ("report/report.json", "{"),
    ],
)
def test_a_broken_record_is_refused_by_name_without_a_traceback(
    change: Any, run_verify: Verify, name: str, text: str
) -> None:
    def forge(folder: Path) -> None:
        path = folder / name
        if name == "archive.json":
            # The metadata are made from it: it is broken afterwards.
            return
        path = first_trial(folder) / path.name if name.startswith("trials/") else path
        path.write_text(text)

    file = change(forge)
    if name == "archive.json":
        folder = file.with_suffix("") / "drawn"
        (folder / name).write_text(text)
        metadata = json.loads((folder / METADATA).read_text())
        import hashlib

        for entity in metadata["@graph"]:
            if entity["@id"] == name:
                entity["sha256"] = hashlib.sha256(text.encode()).hexdigest()
        (folder / METADATA).write_text(json.dumps(metadata))
        write_archive(folder, "drawn", file)
    code, output = run_verify(file)
    assert code == 1
    assert "refused" in output and Path(name).name in output


def test_a_hostile_evaluation_is_named_and_not_expanded(change: Any, run_verify: Verify) -> None:
    def forge(folder: Path) -> None:
        bomb = gzip.compress(bytes(1 << 20))
        (first_trial(folder) / "evaluation" / "results.json.gz").write_bytes(bomb)

    code, output = run_verify(change(forge))
    assert code == 1 and "seed" in output and "evaluation/results.json.gz: " in output


def test_own_annotations_are_compared_box_by_box(
    archive: Path, run_verify: Verify, evaluated: SweepWriter, tmp_path: Path
) -> None:
    content = json.loads((evaluated.folder / "images" / "instances.json").read_text())
    for image in content["images"]:
        image["file_name"] = f"{image['file_name'][:4]}.png"
    # A file of one's own may have more.
    content["images"].append({"id": 999, "file_name": "0999.png", "width": 20, "height": 10})
    own = tmp_path / "own.json"
    own.write_text(json.dumps(content))
    code, output = run_verify(archive, "--annotations", own)
    assert code == 0, output
    assert f"the boxes of 10 of the 11 images of {own} are those in the archive" in output
    content["annotations"][0]["bbox"][0] += 0.5
    own.write_text(json.dumps(content))
    code, output = run_verify(archive, "--annotations", own)
    assert code == 1 and "has other boxes in the file" in output


def test_names_in_an_archive_do_not_steer_the_terminal(change: Any, run_verify: Verify) -> None:
    forged = {"fcos.arm": "\u2028\nbranch", "fcos.data_digest": "e" * 64}
    output = run_verify(change(partial(set_tags, forged)))[1]
    assert "DIFFERS" in output and "\u2028" not in output and "\nbranch" not in output


def test_a_name_that_turns_the_direction_of_a_line_is_refused(change: Any, run_verify: Verify) -> None:
    code, output = run_verify(change(partial(set_tags, {"fcos.arm": "\u202ehcnarb"})))
    assert code == 1 and re.search(r"refused +run\.json of [0-9a-f]{32}: tags\.fcos\.arm: ", output)
    assert "\u202e" not in output


def test_a_picture_that_is_another_file_is_refused(change: Any, run_verify: Verify) -> None:
    def forge(folder: Path) -> None:
        (first_trial(folder) / "detections" / "000000000139.png").write_bytes(b"#!/bin/sh\n")

    code, output = run_verify(change(forge))
    assert code == 1 and re.search(r"refused +000000000139\.png of detections: is no picture", output)


def test_a_file_that_is_not_there_is_a_wrong_command(run_verify: Verify, tmp_path: Path) -> None:
    assert run_verify(tmp_path / "absent.zip")[0] == 2


def test_a_second_value_at_the_same_step_and_time_is_refused(change: Any, run_verify: Verify) -> None:
    """One of them is what the detections give, the other what a report would show."""

    def forge(folder: Path) -> None:
        file = first_trial(folder) / "points.csv"
        last = re.findall(r"(?m)^val/AP,1200,\d+,.*$", file.read_text())[-1]
        forged = f"{last.rpartition(',')[0]},0.9876"
        for order in (f"{forged}\n{last}", f"{last}\n{forged}"):
            if order.splitlines() == sorted(order.splitlines()):
                file.write_text(file.read_text().replace(last, order))

    code, output = run_verify(change(forge))
    assert code == 1
    assert re.search(r"refused +points\.csv of [0-9a-f]{32}, line \d+: .* has the same of these", output)


@pytest.mark.parametrize("name", ["evaluation", "evaluation/index.json"])
def test_a_training_whose_detections_were_taken_out_is_named(change: Any, run_verify: Verify, name: str) -> None:
    def forge(folder: Path) -> None:
        path = first_trial(folder) / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    code, output = run_verify(change(forge))
    assert code == 1
    assert re.search(r"NOT VERIFIED +without detections, metrics and verdicts as logged: \w+ seed \d", output)
    assert re.search(r"DIFFERS +\w+ seed \d: has no detections", output)


def test_without_any_detections_nothing_is_claimed_to_be_recomputed_from_them(change: Any, run_verify: Verify) -> None:
    def forge(folder: Path) -> None:
        for path in (folder / "trials").glob("*/evaluation"):
            shutil.rmtree(path)
        write_report(folder)

    code, output = run_verify(change(forge))
    assert "from 0 detections" not in output and "metrics of 0 trials" not in output
    assert output.count("NOT VERIFIED") == 1 and "branch seed 2" in output
    assert re.search(r"^recomputed +1 verdict and all other texts: the same, from values as logged$", output, re.M)
    tier = output.splitlines()[-1]
    assert code == 1 and re.search(r"^holds +intact, and not recomputed: without detections its metrics", tier)
    assert re.search(r"^as logged +val/AP, val/AP50: not computed again", output, re.M)


def test_a_metric_that_detections_do_not_give_is_named_as_logged(change: Any, run_verify: Verify) -> None:
    """Such as `AP`, which a page shows as it shows `val/AP`."""

    def forge(folder: Path) -> None:
        experiment = folder / "sweep" / "experiment.json"
        experiment.write_text(experiment.read_text().replace('"val/AP"', '"AP"'))
        for file in (folder / "trials").glob("*/points.csv"):
            head, _, rows = file.read_text().partition("\n")
            own = "".join(f"{row.removeprefix('val/')}\n" for row in rows.splitlines() if row.startswith("val/AP,"))
            file.write_text(f"{head}\n{own}{rows}")

    _, output = run_verify(change(forge))
    assert re.search(r"^as logged +AP: not computed again", output, re.M)


def test_another_picture_in_the_page_is_reported_as_not_verified(change: Any, run_verify: Verify) -> None:
    def forge(folder: Path) -> None:
        file = folder / "report" / "report.html"
        file.write_text(re.sub(r"(data:image/[\w+.-]+;base64,)[A-Za-z0-9+/=]+", r"\1AAAA", file.read_text(), count=1))

    code, output = run_verify(change(forge))
    assert code == 0
    assert re.search(r"^NOT VERIFIED +1 picture of the page: not what is drawn here", output, re.M)


def test_a_configuration_that_is_not_that_of_its_run_is_named(change: Any, run_verify: Verify) -> None:
    def forge(folder: Path) -> None:
        file = first_trial(folder) / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "seed": 77}))

    code, output = run_verify(change(forge))
    assert code == 1 and re.search(r"seed \d: seed is 77 in config\.json, and '\d' in run\.json", output)


def swap_tags(folder: Path, tags: Sequence[str]) -> None:
    """Swap tags between the two trials of seed 0, and write the report that follows from that."""
    runs = {path: json.loads(path.read_text()) for path in (folder / "trials").glob("*/run.json")}
    of_seed = {path: run for path, run in runs.items() if run["tags"]["fcos.seed"] == "0"}
    first, second = (run["tags"] for run in of_seed.values())
    for tag in tags:
        first[tag], second[tag] = second[tag], first[tag]
    for path, run in of_seed.items():
        path.write_text(json.dumps(run))
    write_report(folder)


def write_report(folder: Path) -> None:
    """Write the report that follows from an archive as it is now."""
    for name, text in render_archive_report(folder, read_record(folder / HEADER, ArchiveHeader)).items():
        (folder / name).write_bytes(text.encode())


@pytest.mark.parametrize(
    ("tags", "problem"),
    [
        (["fcos.arm"], r"branch seed 0: plan\.json has its training for another arm, evaluation or code"),
        (
            ["fcos.arm", "fcos.identity"],
            r"branch seed 0: model\.head\.quality is 'centerness' for this arm in experiment\.json, and 'none' in its",
        ),
    ],
)
def test_arms_that_were_swapped_are_named_although_all_numbers_follow(
    change: Any, run_verify: Verify, tags: list[str], problem: str
) -> None:
    code, output = run_verify(change(lambda folder: swap_tags(folder, tags)))
    assert code == 1 and re.search(rf"^DIFFERS +{problem}", output, re.M)
    # Nothing else shows it.
    assert re.search(r"^recomputed +\d+ numbers of report/report\.json, equal to the last digit$", output, re.M)


def test_arms_that_were_swapped_are_named_although_what_they_set_was_taken_out(change: Any, run_verify: Verify) -> None:
    def forge(folder: Path) -> None:
        for path in (folder / "trials").glob("*/run.json"):
            run = json.loads(path.read_text())
            del run["params"][QUALITY]
            path.write_text(json.dumps(run))
        swap_tags(folder, ["fcos.arm", "fcos.identity"])

    code, output = run_verify(change(forge))
    lacks = r"its run and configuration lack model\.head\.quality, which experiment\.json has for its arm"
    assert code == 1 and re.search(rf"^DIFFERS +branch seed 0: {lacks}$", output, re.M)


def test_trials_that_were_evaluated_on_other_images_are_named(change: Any, run_verify: Verify) -> None:
    """Settings of the data may leave images out, so that this is no fault; their numbers compare no more."""

    def forge(folder: Path) -> None:
        evaluation = first_trial(folder) / "evaluation"
        annotations = json.loads(text_of(evaluation / "annotations.json.gz"))
        annotations["images"][0]["file_name"] = "another.png"
        replace_text(evaluation, "annotations.json.gz", json.dumps(annotations))
        write_report(folder)

    code, output = run_verify(change(forge))
    labels = r"\w+ seed \d"
    groups = rf"(?:{labels}; {labels}(?:, {labels}){{4}}|{labels}(?:, {labels}){{4}}; {labels})"
    assert code == 0, output
    assert re.search(rf"^NOT VERIFIED +whether trials compare that were evaluated on other .*: {groups}$", output, re.M)


def test_a_trial_that_reports_leave_out_is_named(change: Any, run_verify: Verify) -> None:
    code, output = run_verify(change(partial(set_tags, {"fcos.kind": "run"})))
    assert code == 1 and re.search(r"DIFFERS +trials/[0-9a-f]{32} is of the kind 'run' and not 'trial'", output)


def test_weights_that_a_manifest_names_must_be_there(change: Any, run_verify: Verify) -> None:
    def forge(folder: Path) -> None:
        weights = first_trial(folder) / "weights"
        weights.mkdir()
        (weights / "manifest.json").write_text('{"model.safetensors": "0", "state.json": "1"}')

    code, output = run_verify(change(forge))
    assert code == 1 and "model.safetensors is named in weights/manifest.json and missing" in output
    assert "state.json" not in output


def test_what_cannot_be_read_here_is_a_wrong_command_and_no_fault_of_the_archive(
    archive: Path,
    run_verify: Verify,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = tmp_path / "own.json"
    own.write_text("{")
    assert run_verify(archive, "--annotations", own)[0] == 2

    def refuse(*_: Any) -> Any:
        raise OSError("No space left on device")

    monkeypatch.setattr("fcos.published.archive.shutil.copyfileobj", refuse)
    assert verify.main([str(archive)]) == 2
    assert "No space left on device" in capsys.readouterr().err


def test_an_empty_id_is_the_id_of_no_archive(archive: Path, run_verify: Verify) -> None:
    code, output = run_verify(archive, "--id", "")
    assert code == 1 and "this is another archive" in output
