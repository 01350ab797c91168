"""A whole run without an orchestrator: same numbers again, after a restart, accumulated, and over two workers."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from analysis.explorer.thumbnails import unpack_thumbnails
from fcos.config.evaluation import EvaluationSettings
from fcos.config.parse import parse, set_value, with_keys
from fcos.config.run import Config
from fcos.errors import ConfigError, DataError
from fcos.evaluation.coco import coco_metrics, detections_of, result_metrics
from fcos.evaluation.saved import save_evaluations
from fcos.evaluation.saved.saved_evaluation import SavedEvaluation, read_evaluation
from fcos.inference import evaluate, load_trained
from fcos.runtime import LocalRuntime
from fcos.storage import checkpoint_folder
from fcos.storage.evaluation_files import FILES, RESULTS
from fcos.storage.run_folder import EVALUATION, STOP, ProgressRecord, RunSummary
from fcos.storage.thumbnail_files import THUMBNAILS, digest_images
from fcos.training import checkpoint
from fcos.training.step import Diverged
from fcos.training_run import run
from tests.helpers.present import present

CPU = torch.device("cpu")
GOLDEN = Path(__file__).parents[1] / "golden" / "loss_curve.txt"


class Reports:
    """Keeps what a run reports."""

    def __init__(self) -> None:
        self.records: list[ProgressRecord] = []

    def __call__(self, record: ProgressRecord) -> None:
        self.records.append(ProgressRecord.from_json(record.to_json()))

    def curve(self, key: str) -> list[tuple[int, float]]:
        return [(step, value) for record in self.records for _, name, step, value in record.points if name == key]


def train(values: dict[str, Any], folder: Path, **changes: Any) -> tuple[RunSummary, Reports]:
    for key, value in changes.items():
        values = set_value(values, key.replace("__", "."), value)
    reports = Reports()
    config = parse(Config, values)
    return run(config, LocalRuntime(folder, CPU, reports)), reports


@dataclass(frozen=True)
class Plain:
    """A run of the tiny configuration as it is: its folder, which no test changes, its summary and its reports."""

    folder: Path
    summary: RunSummary
    reports: Reports


@pytest.fixture(scope="module")
def plain(module_tiny_values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Plain:
    folder = tmp_path_factory.mktemp("plain") / "run"
    return Plain(folder, *train(module_tiny_values, folder))


def test_a_run_reports_and_leaves_what_it_promises(plain: Plain) -> None:
    summary, reports = plain.summary, plain.reports
    assert [record.step for record in reports.records] == [2, 3, 4, 6]
    assert {step for step, _ in reports.curve("train/loss")} == {2, 3, 4, 6}
    assert [step for step, _ in reports.curve("val/AP")] == [3, 6]
    assert reports.records[-1].total_steps == 6
    assert set(summary.metrics) == {""}
    pictures = [plain.folder / name for name in summary.pictures[""]]
    assert len(pictures) == 6 and all(path.is_file() for path in pictures)
    final = plain.folder / present(summary.checkpoint)
    assert checkpoint.load(final).classes == tuple(summary.classes)
    assert checkpoint_folder.digest(final) == summary.checkpoint_sha256


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(
    plain: Plain, module_tiny_values, tmp_path: Path
) -> None:
    # A checkpoint names the folder of the data, which is the same for all three.
    again, again_curve = train(module_tiny_values, tmp_path / "b")
    other, _ = train(module_tiny_values, tmp_path / "c", seed=1)
    assert plain.reports.curve("train/loss") == again_curve.curve("train/loss")
    assert plain.summary.checkpoint_sha256 == again.checkpoint_sha256
    assert plain.summary.checkpoint_sha256 != other.checkpoint_sha256


def test_seed_alone_sets_the_seed_of_every_source_of_chance(tiny_values, tmp_path: Path) -> None:
    plain, plain_curve = train(tiny_values, tmp_path / "plain", seed=1)
    given = {"seeds__weights": 1, "seeds__order": 1, "seeds__augmentation": 1}
    apart, apart_curve = train(tiny_values, tmp_path / "apart", seed=0, **given)
    assert apart_curve.curve("train/loss") == plain_curve.curve("train/loss")
    assert apart.metrics == plain.metrics


def test_every_source_of_chance_has_a_seed_of_its_own(tiny_values, tmp_path: Path) -> None:
    names = ("weights", "order", "augmentation")
    curves = [train(tiny_values, tmp_path / "plain", data__flip=0.5)[1].curve("train/loss")]
    for name in names:
        changes = {f"seeds__{name}": 1, "data__flip": 0.5}
        curves.append(train(tiny_values, tmp_path / name, **changes)[1].curve("train/loss"))
    assert all(one != other for i, one in enumerate(curves) for other in curves[:i])


def test_the_seed_of_augmentation_decides_nothing_where_nothing_is_augmented(tiny_values, tmp_path: Path) -> None:
    plain, same = (
        train(tiny_values, tmp_path / str(seed), data__flip=0.0, seeds__augmentation=seed)[1].curve("train/loss")
        for seed in (0, 1)
    )
    assert plain == same


@pytest.mark.parametrize(
    "changes",
    [{}, {"schedule__optimizer": "sgd", "schedule__ema": 0.9}, {"schedule__precision": "bf16", "schedule__ema": 0.9}],
)
def test_a_run_that_was_cut_off_ends_with_the_numbers_of_one_that_was_not(
    plain: Plain, module_tiny_values, tmp_path: Path, changes
) -> None:
    folder = tmp_path / "whole"
    whole = Plain(folder, *train(module_tiny_values, folder, **changes)) if changes else plain
    config = parse(Config, _changed(module_tiny_values, changes))

    def cut_off(record: ProgressRecord) -> None:
        if record.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, LocalRuntime(tmp_path / "cut", CPU, cut_off))
    resumed, reports = train(module_tiny_values, tmp_path / "cut", **changes)
    assert reports.records[0].resumed_from == 3
    assert resumed.metrics == whole.summary.metrics
    final = present(whole.summary.checkpoint)
    ours, theirs = (checkpoint.load(folder / final) for folder in (whole.folder, tmp_path / "cut"))
    assert all(torch.equal(ours.weights[name], theirs.weights[name]) for name in ours.weights)


def _changed(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    for key, value in changes.items():
        values = set_value(values, key.replace("__", "."), value)
    return values


def test_a_run_that_is_requested_to_stop_ends_evaluated_and_can_go_on(
    plain: Plain, module_tiny_values, tmp_path: Path
) -> None:
    whole = plain.summary
    folder = tmp_path / "asked"

    def ask(record: ProgressRecord) -> None:
        if record.step == 2:
            (folder / STOP).touch()

    folder.mkdir()
    pruned = run(parse(Config, module_tiny_values), LocalRuntime(folder, CPU, ask))
    assert whole.pruned is None
    assert (pruned.pruned, pruned.step) == (2, 2)
    assert set(pruned.metrics[""]) == set(whole.metrics[""])
    assert checkpoint.load(folder / present(pruned.checkpoint)).step == 2
    (folder / STOP).unlink()
    resumed, reports = train(module_tiny_values, folder)
    assert reports.records[0].resumed_from == 2
    assert resumed.metrics == whole.metrics and resumed.pruned is None


def test_two_workers_stop_at_the_same_step(tiny_values, tmp_path: Path, run_with_workers) -> None:
    folder = tmp_path / "two"
    folder.mkdir()
    (folder / STOP).touch()
    summaries = [summary for summary, *_ in run_with_workers(tiny_values, folder, 2)]
    assert [summary.pruned for summary in summaries] == [2, 2]


def test_a_run_that_is_over_only_evaluates_again(plain: Plain, module_tiny_values, tmp_path: Path) -> None:
    again, reports = train(module_tiny_values, shutil.copytree(plain.folder, tmp_path / "run"))
    first = plain.summary
    assert again.metrics == first.metrics and again.checkpoint_sha256 == first.checkpoint_sha256
    assert reports.records[0].resumed_from == 6 and not reports.curve("train/loss")


def test_several_inference_settings_share_one_training(tiny_values, tmp_path: Path) -> None:
    config = parse(Config, tiny_values)
    plain = EvaluationSettings.of(config)
    arms = {
        "branch": plain,
        "none": with_keys(plain, {"postprocess.quality": "none"}),
        "from_regression": with_keys(plain, {"postprocess.quality": "from_regression"}),
    }
    reports = Reports()
    summary = run(config, LocalRuntime(tmp_path / "run", CPU, reports), arms)
    assert set(summary.metrics) == set(arms) == set(summary.pictures)
    reported = {arm for record in reports.records for arm, key, _, _ in record.points if key.startswith("val/")}
    assert reported == set(arms)


def saved_evaluation(folder: Path, summary: RunSummary, arm: str = "") -> SavedEvaluation:
    """Read an evaluation by the files that a summary names."""
    assert [Path(name).name for name in summary.evaluations[arm]] == list(FILES)
    return read_evaluation((folder / summary.evaluations[arm][0]).parent)


def test_every_number_of_a_run_is_computed_again_from_what_it_saved(tiny_values, tmp_path: Path) -> None:
    config = parse(Config, tiny_values)
    plain = EvaluationSettings.of(config)
    arms = {"full": plain, "few": with_keys(plain, {"postprocess.max_detections": 2})}
    summary = run(config, LocalRuntime(tmp_path / "run", CPU), arms)
    assert set(summary.evaluations) == set(arms) and summary.data_digest
    for arm, metrics in summary.metrics.items():
        saved = saved_evaluation(tmp_path / "run", summary, arm)
        assert result_metrics(saved.annotations, saved.results) == metrics
        assert coco_metrics(saved.annotations, detections_of(saved.annotations, saved.results)) == metrics
        assert (saved.index.step, saved.index.data_digest) == (summary.step, summary.data_digest)
        images = zip(saved.annotations.image_ids.tolist(), saved.annotations.names, strict=True)
        thumbnails = unpack_thumbnails((tmp_path / "run" / summary.thumbnails).read_bytes(), digest_images(images))
        assert list(thumbnails) == saved.annotations.image_ids.tolist()
    assert summary.metrics["full"] != summary.metrics["few"]


def test_a_repeated_run_saves_the_same_bytes(plain: Plain, module_tiny_values, tmp_path: Path) -> None:
    train(module_tiny_values, tmp_path / "again")
    for file in (*(f"{EVALUATION}/{name}" for name in FILES), THUMBNAILS):
        first, again = ((folder / file).read_bytes() for folder in (plain.folder, tmp_path / "again"))
        assert first == again


def test_an_evaluation_over_the_bound_is_a_note_of_the_run(
    tiny_values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(save_evaluations, "MAX_TEXT_BYTES", 1000)
    summary, _ = train(tiny_values, tmp_path / "run")
    assert summary.evaluations == {} and not (tmp_path / "run" / EVALUATION / RESULTS).exists()
    assert any("the evaluation is not saved: with" in note for note in summary.notes)


def test_accumulated_micro_batches_make_the_step_of_the_whole_batch(tiny_values, tmp_path: Path) -> None:
    values = _changed(tiny_values, {"model__backbone__norm": "frozen_bn", "schedule__optimizer": "sgd"})
    _, whole = train(values, tmp_path / "whole")
    _, parts = train(values, tmp_path / "parts", schedule__accumulate=4)
    for (step, one), (other_step, other) in zip(whole.curve("train/loss"), parts.curve("train/loss"), strict=True):
        assert step == other_step and other == pytest.approx(one, rel=1e-5)


def test_a_loss_that_is_not_finite_stops_the_run_by_name(tiny_values, tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=r"not finite at step \d+: loss=.*loss_regression=.*images of the batch: 0.*png"):
        train(
            tiny_values, tmp_path / "run", schedule__lr=1e20, schedule__warmup_steps=0, schedule__clip_norm=None,
            schedule__optimizer="sgd",
        )  # fmt: skip


def test_a_batch_that_does_not_divide_over_its_parts_is_refused(tiny_values, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="accumulate=3 does not divide batch_size=8"):
        train(tiny_values, tmp_path / "run", schedule__accumulate=3)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model__head__quality": "iou"},
        # What is positive depends on the outputs, on masks, or on the cheaper of two choices.
        pytest.param({"model__assignment__kind": "simota"}, marks=pytest.mark.slow),
        pytest.param({"model__assignment__positives": "mask"}, marks=pytest.mark.slow),
        pytest.param({"model__targets_per_location": 2}, marks=pytest.mark.slow),
    ],
    ids=["centerness", "iou", "simota", "mask", "two_targets"],
)
def test_two_workers_with_half_the_batch_each_are_one_worker_with_all_of_it(
    tiny_values, tmp_path, changes, run_with_workers
) -> None:
    values = _changed(
        tiny_values,
        # Batch statistics are a worker's own, so the backbone's are frozen; SGD shows errors that Adam would hide.
        {"model__backbone__norm": "frozen_bn", "schedule__optimizer": "sgd", "schedule__lr": 0.01, **changes},
    )
    alone, reports = train(values, tmp_path / "one")
    together = run_with_workers(values, tmp_path / "two", 2)
    assert together[0] == together[1]
    summary, curve, _ = together[0]
    for (step, loss), (_, expected) in zip(curve, reports.curve("train/loss"), strict=True):
        assert loss == pytest.approx(expected, rel=1e-5), step
    assert summary.metrics[""]["val/AP"] == pytest.approx(alone.metrics[""]["val/AP"], abs=1e-4)


def test_two_workers_agree_with_one_also_where_one_of_them_has_no_box(
    tiny_values, tmp_path: Path, run_with_workers
) -> None:
    values = _changed(
        tiny_values,
        {"model__backbone__norm": "frozen_bn", "schedule__optimizer": "sgd", "schedule__lr": 0.01},
    )
    # Batches of two images, one for each worker, of a data set in which every other image is empty.
    root = _half_empty(values, tmp_path)
    values = set_value(values, "data", {
        "name": "coco", "root": str(root), "cache_dir": str(tmp_path / "cache"), "flip": 0.0,
        "train": {"annotations": "half.json", "images": "train"},
        "val": {"annotations": "val.json", "images": "val"},
    })  # fmt: skip
    values = set_value(values, "schedule.batch_size", 2)
    _, reports = train(values, tmp_path / "one")
    _, curve, _ = run_with_workers(values, tmp_path / "two", 2)[0]
    for (_, loss), (_, expected) in zip(curve, reports.curve("train/loss"), strict=True):
        assert loss == pytest.approx(expected, rel=1e-5)


def test_two_workers_evaluate_what_they_save(tiny_values, tmp_path: Path, run_with_workers) -> None:
    # With batch norm each worker gathers statistics of its own.
    summary, *_ = run_with_workers(tiny_values, tmp_path / "two", 2)[0]
    saved = saved_evaluation(tmp_path / "two", summary)
    assert result_metrics(saved.annotations, saved.results) == summary.metrics[""]
    trained = load_trained(tmp_path / "two", CPU, {})
    assert evaluate(trained, batch_size=4) == pytest.approx(summary.metrics[""], abs=1e-6)


def _half_empty(values: dict[str, Any], tmp_path: Path) -> Path:
    from fcos.data.prepare import prepare

    root = prepare(parse(Config, values).data).train.folder.parent
    content = json.loads((root / "train.json").read_text())
    kept = {image["id"] for image in content["images"][::2]}
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] in kept]
    (root / "half.json").write_text(json.dumps(content))
    return root


def test_images_without_masks_evaluate_what_learned_on_masks(tiny_values, tmp_path: Path) -> None:
    values = _changed(tiny_values, {"model__assignment__positives": "mask"})
    root = _with_masks_to_train(values)
    values = set_value(values, "data", {
        "name": "coco", "root": str(root), "cache_dir": str(tmp_path / "cache"),
        "train": {"annotations": "masks.json", "images": "train"}, "val": {"annotations": "val.json", "images": "val"},
    })  # fmt: skip
    summary, _ = train(values, tmp_path / "run")
    # Nor are the training masks needed any more.
    trained = load_trained(tmp_path / "run", CPU, {"data.train.annotations": "train.json"})
    assert evaluate(trained, batch_size=4) == pytest.approx(summary.metrics[""], abs=1e-6)
    oracle = {"model.postprocess.oracle": "box"}
    message = r"val\.json: none of the \d+ boxes .* model\.assignment\.positives=mask .* need masks"
    with pytest.raises(DataError, match=message):
        evaluate(load_trained(tmp_path / "run", CPU, oracle), batch_size=4)
    with pytest.raises(DataError, match=message):
        train(values, tmp_path / "oracle", model__postprocess__oracle="box")


def _with_masks_to_train(values: dict[str, Any]) -> Path:
    """Drawn shapes as COCO files, of which masks.json says that each shape fills the left of its box."""
    from fcos.data.prepare import prepare

    root = prepare(parse(Config, values).data).train.folder.parent
    content = json.loads((root / "train.json").read_text())
    for entry in content["annotations"]:
        x, y, width, height = entry["bbox"]
        entry["segmentation"] = [[x, y, x + width / 2, y, x + width / 2, y + height, x, y + height]]
    (root / "masks.json").write_text(json.dumps(content))
    return root


@pytest.mark.slow
def test_one_small_data_set_is_memorized(tiny_values, tmp_path: Path) -> None:
    values = _changed(tiny_values, {
        "data__synthetic__train_images": 8, "data__flip": 0.0, "schedule__steps": 400, "schedule__warmup_steps": 40,
        "schedule__eval_every": 400, "schedule__checkpoint_every": 400,
    })  # fmt: skip
    _, reports = train(values, tmp_path / "run")
    curve = [loss for _, loss in reports.curve("train/loss_classification")]
    assert curve[-1] < 0.15 * curve[0]


def test_the_loss_curve_is_the_golden_one(tiny_values, tmp_path: Path) -> None:
    """A change that means to keep numbers keeps this file; one that means to move them says why.

    Processors add in different orders, hence the tolerance. `FCOS_LAB_WRITE_GOLDEN=1 pytest -k golden_one` writes it.
    """
    _, reports = train(tiny_values, tmp_path / "run", schedule__log_every=1)
    found = [f"{step} {loss:.6f}" for step, loss in reports.curve("train/loss")]
    if os.environ.get("FCOS_LAB_WRITE_GOLDEN"):
        GOLDEN.write_text("\n".join(found) + "\n")
    expected = [line.split() for line in GOLDEN.read_text().splitlines()]
    assert len(found) == len(expected)
    for line, (step, loss) in zip(found, expected, strict=True):
        assert line.split()[0] == step and float(line.split()[1]) == pytest.approx(float(loss), rel=1e-3), line
