"""An identity moves with what determines a result, and with nothing else."""

from pathlib import Path
from typing import Any

import pytest

from fcos.config.parse import parse, set_value
from fcos.config.run import Config
from orchestration.config.overrides import dotted_keys
from orchestration.experiment.identity import (
    INFERENCE_ONLY,
    RUN_ONLY,
    evaluation_identity,
    fingerprint,
    train_identity,
    without,
)
from orchestration.experiment.provenance import Evidence, code_digest

EVIDENCE = Evidence(code="c", versions={"torch": "1"})


@pytest.fixture
def plain(tiny_values: dict[str, Any]) -> dict[str, Any]:
    return parse(Config, tiny_values).model_dump(mode="json")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 1),
        ("schedule.steps", 7),
        ("model.loss.regression", "iou"),
        ("data.flip", 0.0),
        ("model.assignment.kind", "atss"),
        ("model.assignment.low_quality", "none"),
        ("model.anchors_per_location", 9),
        ("model.targets_per_location", 2),
        ("model.assignment.tie_break", "random"),
        ("model.assignment.positives", "mask"),
        ("model.pixel_mean", [0.0, 0.0, 0.0]),
        ("model.head.towers", "shared"),
        ("model.backbone.stride_in_1x1", True),
        ("model.fpn.norm", "bn"),
        ("model.loss.quality_loss", "l1"),
    ],
)
def test_what_determines_a_result_changes_the_identity(plain: dict[str, Any], key: str, value: Any) -> None:
    changed = set_value(plain, key, value)
    assert train_identity(changed, EVIDENCE, "d") != train_identity(plain, EVIDENCE, "d")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.num_workers", 3),
        ("data.cache_dir", "/elsewhere"),
        ("schedule.log_every", 1),
        ("schedule.keep_checkpoints", 5),
        ("schedule.best_metric", None),
        ("model.postprocess.nms_threshold", 0.1),
        ("model.postprocess.suppression", "peaks"),
        ("model.postprocess.suppression", "set_nms"),
        ("model.postprocess.oracle", "box"),
        ("model.postprocess.analyses", ["errors"]),
        ("model.postprocess.tta_flip", True),
    ],
)
def test_what_only_runs_or_infers_does_not(plain: dict[str, Any], key: str, value: Any) -> None:
    changed = set_value(plain, key, value)
    assert train_identity(changed, EVIDENCE, "d") == train_identity(plain, EVIDENCE, "d")


@pytest.mark.parametrize(
    ("changes", "depends"),
    [
        ({}, True),
        ({"model.backbone.norm": "frozen_bn"}, False),
        ({"model.backbone.norm": "frozen_bn", "model.head.norm": "bn"}, True),
        ({"model.backbone.norm": "frozen_bn", "model.head.norm": "bn_per_level"}, True),
        ({"model.backbone.norm": "frozen_bn", "model.fpn.norm": "bn"}, True),
        ({"model.backbone.norm": "frozen_bn", "model.assignment.tie_break": "random"}, True),
        ({"model.backbone.norm": "sync_bn", "model.loss.normalizer": "local"}, True),
        ({"model.backbone.norm": "sync_bn", "model.loss.normalizer": "ema"}, False),
    ],
)
def test_workers_count_where_each_looks_at_its_own_part_of_a_batch(
    plain, changes: dict[str, str], depends: bool
) -> None:
    for key, value in changes.items():
        plain = set_value(plain, key, value)
    one, two = (train_identity(plain, Evidence("c", {}, workers), "d") for workers in (1, 2))
    assert (one != two) is depends


def test_code_versions_and_data_change_the_identity(plain: dict[str, Any]) -> None:
    others = [
        train_identity(plain, Evidence(code="other", versions={"torch": "1"}), "d"),
        train_identity(plain, Evidence(code="c", versions={"torch": "2"}), "d"),
        train_identity(plain, EVIDENCE, "other"),
        train_identity(plain, EVIDENCE, "d"),
    ]
    assert len(set(others)) == 4


def test_inference_settings_change_the_evaluation_identity(plain: dict[str, Any]) -> None:
    settings = plain["model"]["postprocess"]
    assert evaluation_identity("t", settings) != evaluation_identity("t", {**settings, "nms_threshold": 0.1})


def test_fingerprint_ignores_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})
    assert fingerprint({"a": [1, 2]}) != fingerprint({"a": [2, 1]})


def test_without_leaves_the_original_alone() -> None:
    values = {"a": {"b": 1, "c": 2}, "d": 3}
    assert without(values, ("a.b", "d")) == {"a": {"c": 2}}
    assert values == {"a": {"b": 1, "c": 2}, "d": 3}


def test_left_out_keys_exist() -> None:
    known = dotted_keys(Config)
    for key in (*RUN_ONLY, *INFERENCE_ONLY):
        assert any(name == key or name.startswith(f"{key}.") for name in known), key


def test_code_digest_sees_contents_and_names_of_python_files_only(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    first = code_digest(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    assert code_digest(tmp_path) == first
    (tmp_path / "a.py").write_text("2")
    second = code_digest(tmp_path)
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert len({first, second, code_digest(tmp_path)}) == 3
