"""Hostile input: what lies in a sweep's folder, what a command line says, what a data set and a store hold."""

import json
import os
import pickle
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fcos.annotations.annotations import read_annotations
from fcos.config.parse import parse
from fcos.errors import ConfigError, DataError
from fcos.storage import checkpoint_folder
from fcos.storage.checkpoint_folder import CheckpointError
from fcos.storage.run_folder import FAILURE, POINTS, REUSED, SUMMARY
from fcos.storage.store_conventions import public_uri
from fcos.training import checkpoint
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.config.schema import LabConfig
from orchestration.experiment.config_checks import check_job_output
from orchestration.experiment.provenance import git_commit
from orchestration.planning.make_plan import make_plan
from orchestration.planning.plan import settle_plan
from orchestration.planning.reuse import find_reusable
from orchestration.planning.spent import SPENT, read_spent
from orchestration.planning.table import plan_table
from orchestration.tracking.problems import TrackingError, store_errors
from orchestration.trial import files
from orchestration.trial.failures import read_failure

EXPERIMENT = "+experiment=ablation_centerness"
SECRET = "hunter2-of-the-environment"


class Payload:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self.marker}",))


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "executed"


def test_the_payload_of_these_tests_executes_when_it_is_unpickled(marker: Path) -> None:
    pickle.loads(pickle.dumps(Payload(marker)))
    assert marker.exists()


def write_checkpoint(folder: Path) -> Path:
    return checkpoint.save(
        folder, step=2, config={"seed": 0}, classes=("a",), model=nn.Linear(1, 1), averages={}, state={"step": 2}
    )


def forge(path: Path, name: str, content: bytes) -> None:
    """Another content of a checkpoint's file, with a manifest that says so."""
    (path / name).write_bytes(content)
    manifest = json.loads((path / checkpoint_folder.MANIFEST).read_text())
    manifest[name] = sha256(content).hexdigest()
    (path / checkpoint_folder.MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("how", ["pickle", "torch.save", "torch.save, old format"])
def test_a_crafted_state_is_refused_and_never_run(tmp_path: Path, marker: Path, how: str) -> None:
    path = write_checkpoint(tmp_path / "checkpoints")
    crafted = tmp_path / "crafted.pt"
    if how == "pickle":
        crafted.write_bytes(pickle.dumps(Payload(marker)))
    else:
        torch.save({"optimizer": Payload(marker)}, crafted, _use_new_zipfile_serialization=how == "torch.save")
    forge(path, "state.pt", crafted.read_bytes())
    with pytest.raises(CheckpointError, match="is no checkpoint of this project"):
        checkpoint.load(path)
    assert checkpoint.latest(path.parent)[0] is None
    assert not marker.exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b"\xff" * 64),
        ("model.safetensors", pickle.dumps({"weight": 1})),
        ("config.json", b"[]"),
        ("config.json", b'{"step": "x", "config": {}, "classes": []}'),
        ("config.json", b"\xff\xfe"),
    ],
)
def test_a_file_that_is_not_what_its_name_promises_is_a_bad_checkpoint(
    tmp_path: Path, name: str, content: bytes
) -> None:
    path = write_checkpoint(tmp_path)
    forge(path, name, content)
    with pytest.raises(CheckpointError, match="is no checkpoint of this project"):
        checkpoint.load(path)


@pytest.mark.parametrize("manifest", ["[]", "{}", '{"../../outside": "00"}', "7"])
def test_a_crafted_manifest_is_a_bad_checkpoint(tmp_path: Path, manifest: str) -> None:
    path = write_checkpoint(tmp_path)
    (path / checkpoint_folder.MANIFEST).write_text(manifest)
    with pytest.raises(CheckpointError, match="is damaged"):
        checkpoint.load(path)


def test_a_manifest_names_no_file_elsewhere(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "checkpoints")
    outside = tmp_path / "outside"
    outside.write_bytes(b"private")
    manifest = json.loads((path / checkpoint_folder.MANIFEST).read_text())
    manifest["../../outside"] = sha256(b"private").hexdigest()
    (path / checkpoint_folder.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="outside: is missing"):
        checkpoint_folder.verify(path)


@pytest.mark.parametrize(
    "named",
    [
        {"files": ["../../private"]},
        {"files": ["{private}"]},
        {"files": ["link"]},
        {"pictures": {"a": ["../../private"]}},
        {"pictures": {"a": ["{private}"]}},
        {"checkpoint": "../../checkpoints"},
        {"checkpoint": "/checkpoints"},
        {"files": [7]},
        {"files": 7},
        {"pictures": []},
    ],
)
def test_a_summary_that_names_files_elsewhere_is_no_result(tmp_path: Path, named: dict[str, Any]) -> None:
    private = tmp_path / "private"
    private.write_text("of somebody else")
    folder = tmp_path / "trials" / "x"
    folder.mkdir(parents=True)
    (folder / "link").symlink_to(private)
    named = json.loads(json.dumps(named).replace("{private}", str(private)))
    summary = {"step": 1, "seconds": 1.0, "metrics": {"a": {}}}
    (folder / SUMMARY).write_text(json.dumps({"identity": "x", "summary": summary}))
    assert files.read_summary(folder, "x", ["a"]) is not None
    (folder / SUMMARY).write_text(json.dumps({"identity": "x", "summary": {**summary, **named}}))
    assert files.read_summary(folder, "x", ["a"]) is None


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", "7", '"x"', '{"trained_by": 1, "sweep": "s", "arms": {}}', '{"trained_by": "r", "arms": {}}', "\x00"],
)
def test_a_crafted_record_in_a_folder_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    for name in (REUSED, SUMMARY, FAILURE, POINTS, SPENT):
        (tmp_path / name).write_text(text)
    assert files.read_reused(tmp_path) is None
    assert files.read_summary(tmp_path, "x", ["a"]) is None
    assert read_failure(tmp_path) is None
    assert files.read_points(tmp_path) == []
    # Hours that were used would be there again.
    with pytest.raises(ConfigError, match="not readable as the hours that this sweep has used"):
        read_spent(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{}", "7", '{"key": "k"}'])
def test_a_crafted_plan_is_refused_by_name(tmp_path: Path, text: str) -> None:
    plan = make_plan(compose(check_overrides([EXPERIMENT, f"output={tmp_path}"])), lambda config: ("d", ()))
    plan.folder.mkdir()
    (plan.folder / "plan.json").write_text(text)
    with pytest.raises(ConfigError, match=r"plan\.json: not readable as a plan"):
        settle_plan(plan)


def test_nothing_pickled_in_a_sweeps_folder_is_opened_by_planning(tmp_path: Path, marker: Path) -> None:
    lab = compose(check_overrides([EXPERIMENT, f"output={tmp_path / 'outputs'}"]))
    plan = make_plan(lab, lambda config: ("d", ()))
    for trial in plan.trials:
        folder = plan.folder_of(trial)
        folder.mkdir(parents=True)
        for name in (SUMMARY, REUSED, POINTS):
            (folder / name).write_bytes(pickle.dumps(Payload(marker)))
    plan_table(plan, find_reusable(lab, plan))
    assert not marker.exists()


@cache
def experiment_config() -> LabConfig:
    return compose(check_overrides([EXPERIMENT]))


BAD_NAMES = ["../../etc", "/etc/passwd", "a/b", "a\\b", "..", ".hidden", "a\nb", "a\0b", "", " ", "a b", "x" * 65, "é"]


@pytest.mark.parametrize("name", [*BAD_NAMES, pytest.param("x" * 10**7, id="ten million letters")])
@pytest.mark.parametrize("key", ["name", "experiment.name", "arm"])
def test_a_name_that_could_lead_elsewhere_is_refused(name: str, key: str) -> None:
    values = experiment_config().model_dump(mode="json")
    match key:
        case "name":
            values["name"] = name
        case "experiment.name":
            values["experiment"]["name"] = name
        case _:
            values["experiment"]["arms"][name] = {"schedule.lr": 1}

    with pytest.raises(ConfigError, match="must be 1 to 64 of the characters"):
        parse(LabConfig, values)


@pytest.mark.parametrize(
    "words",
    [
        ["+x._target_=os.system"],
        ["_target_=os.system"],
        ["model._target_=os.system"],
        ["model={_target_:os.system}"],
        ["data.synthetic._target_=subprocess.run"],
        ["++hydra.job_logging.handlers.x.class=os.system"],
        ["hydra.run.dir=../../x"],
        ["hydra/launcher=evil"],
        ["hydra.searchpath=[file:///tmp]"],
        [EXPERIMENT, "experiment.arms.none._target_=os.system"],
        [EXPERIMENT, "experiment.arms.none={_target_:os.system}"],
        ["--config-dir=/tmp"],
    ],
)
def test_config_names_nothing_to_import_or_to_run(words: list[str]) -> None:
    from orchestration.experiment.trials import arm_configs

    with pytest.raises(ConfigError):
        lab = compose(check_overrides(words))
        assert lab.experiment is not None
        arm_configs(lab.training, lab.experiment)


@pytest.mark.parametrize(
    "words",
    [
        ["tracking.experiment=${oc.env:LAB_SECRET}"],
        ["output=${oc.env:LAB_SECRET,default}"],
        ["tracking.experiment='${${tracking.uri}:LAB_SECRET}'", "tracking.uri=oc.env"],
        [EXPERIMENT, "experiment.claim=${oc.env:LAB_SECRET}"],
        [EXPERIMENT, "experiment.claim='${oc.decode:${oc.env:LAB_SECRET}}'"],
        [EXPERIMENT, "experiment.arms.none={seed: '${oc.env:LAB_SECRET}'}"],
    ],
)
def test_a_config_does_not_read_the_environment(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_SECRET", SECRET)
    with pytest.raises(ConfigError) as caught:
        compose(check_overrides(words))
    assert SECRET not in str(caught.value)


def test_a_config_may_still_refer_to_itself() -> None:
    lab = compose(check_overrides(["schedule.eval_every=${schedule.steps}"]))
    assert lab.schedule.eval_every == lab.schedule.steps


def coco(tmp_path: Path, file_name: str, class_name: str = "disc") -> Path:
    path = tmp_path / "train.json"
    content = {
        "images": [{"id": 1, "file_name": file_name, "width": 10, "height": 10}],
        "categories": [{"id": 1, "name": class_name}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]}],
    }
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("name", ["../../x.png", "/etc/passwd", "a/../../x", "..\\x", "C:\\x", "\\\\host\\x", "a\0b"])
def test_annotations_name_no_file_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="must be a path below the image folder"):
        read_annotations(coco(tmp_path, name))


@pytest.mark.parametrize("name", ["a/b/c.png", "x" * 240 + ".png", "y/" * 100 + "z.png", "a\nb.png", "<img src=x>.png"])
def test_pictures_of_odd_names_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    from fcos.drawing.boxes import save_detections
    from fcos.structures import Detections

    none = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long))
    pixels = torch.zeros(3, 8, 8, dtype=torch.uint8)
    (path,) = save_detections([(name, pixels, none, none)], ("<script>",), tmp_path / "detections")
    assert path.parent == tmp_path / "detections" and path.is_file()


def test_a_class_may_have_any_name_and_its_metric_a_legal_one(tmp_path: Path) -> None:
    from orchestration.tracking.store import legal_name

    name = "<script>alert('../../x')</script>\n"
    assert read_annotations(coco(tmp_path, "a.png", name)).classes == (name,)
    legal = legal_name(f"val/class_AP/{name}")
    assert "<" not in legal and "\n" not in legal and ".." not in legal.split("/")


@pytest.mark.parametrize(
    "uri",
    [
        f"http://user:{SECRET}@127.0.0.1:9",
        f"http://user:{SECRET}@host:no-port",
        f"postgresql://user:{SECRET}@127.0.0.1:9/db",
        f"http://user:half/{SECRET}@127.0.0.1:9/x",
        f"postgresql://127.0.0.1:9/db?password={SECRET}",
    ],
)
def test_a_password_in_an_address_is_never_printed(uri: str) -> None:
    assert SECRET not in public_uri(uri)
    with pytest.raises(TrackingError) as caught, store_errors(uri):
        raise ValueError(f"cannot parse {uri}")
    assert SECRET not in str(caught.value)


def test_the_overrides_that_a_search_records_hold_no_address(tmp_path: Path) -> None:
    words = ["+experiment=search_fcos", f"output={tmp_path}", f"tracking.uri=http://user:{SECRET}@host"]
    words += [f"++tracking.experiment={SECRET}"]
    plan = make_plan(compose(check_overrides(words)), lambda config: ("d", ()), words)
    settle_plan(plan)
    assert SECRET not in (plan.folder / "plan.json").read_text()


def test_what_a_job_declares_as_its_commit_is_a_commit_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FCOS_LAB_COMMIT", SECRET)
    assert git_commit(tmp_path).commit == "unknown"
    monkeypatch.setenv("FCOS_LAB_COMMIT", "0123456789abcdef-dirty")
    assert git_commit(tmp_path) == type(git_commit(tmp_path))("0123456789abcdef", "true")


def test_a_job_does_not_write_into_its_own_copy_of_the_checkout(tmp_path: Path) -> None:
    copy = tmp_path / "working_dir_files" / "_ray_pkg_1"
    with pytest.raises(ConfigError, match=r"output=.*: lies in the job's own copy of the checkout"):
        check_job_output(compose(check_overrides([f"output={copy / 'outputs'}"])), root=copy)
    check_job_output(compose(check_overrides([f"output={tmp_path / 'shared'}"])), root=copy)
