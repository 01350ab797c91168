"""An identity moves with what determines a result, and with nothing else."""

from typing import Any

import pytest

from fcos.config.evaluation import EvaluationSettings
from fcos.config.parse import parse, with_keys
from fcos.config.run import Config
from fcos.storage.store_conventions import RUN_ONLY
from orchestration.config.overrides import dotted_keys
from orchestration.experiment.identity import EVALUATION_ONLY, evaluation_identity, fingerprint, train_identity, without
from orchestration.experiment.provenance import Provenance

PROVENANCE = Provenance(code="c", versions={"torch": "1"})


@pytest.fixture
def config(tiny_values: dict[str, Any]) -> Config:
    return parse(Config, tiny_values)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 1),
        ("schedule.steps", 7),
        ("model.loss.regression", "iou"),
        ("data.flip", 0.0),
        ("model.assignment.kind", "atss"),
        ("model.assignment.low_quality", "none"),
        ("data.limit_train", 3),
        ("model.targets_per_location", 2),
        ("model.assignment.tie_break", "random"),
        ("model.assignment.positives", "mask"),
        ("model.pixel_mean", [0.0, 0.0, 0.0]),
        ("model.head.towers", "shared"),
        ("model.backbone.widths", [32, 32, 32, 32, 32]),
        ("model.fpn.norm", "bn"),
        ("model.loss.quality_loss", "l1"),
    ],
)
def test_what_determines_a_result_changes_the_identity(config: Config, key: str, value: Any) -> None:
    changed = with_keys(config, {key: value})
    assert train_identity(changed, PROVENANCE, "d") != train_identity(config, PROVENANCE, "d")


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
        ("model.postprocess.oracle", "box"),
        ("model.postprocess.analyses", ["errors"]),
        ("model.postprocess.tta_flip", True),
        ("schedule.ema", 0.9),
    ],
)
def test_what_only_runs_or_infers_does_not_change_the_identity(config: Config, key: str, value: Any) -> None:
    changed = with_keys(config, {key: value})
    assert train_identity(changed, PROVENANCE, "d") == train_identity(config, PROVENANCE, "d")


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
    config: Config, changes: dict[str, str], depends: bool
) -> None:
    config = with_keys(config, changes)
    one, two = (train_identity(config, Provenance("c", {}, workers), "d") for workers in (1, 2))
    assert (one != two) is depends


def test_code_versions_and_data_change_the_identity(config: Config) -> None:
    others = [
        train_identity(config, Provenance(code="other", versions={"torch": "1"}), "d"),
        train_identity(config, Provenance(code="c", versions={"torch": "2"}), "d"),
        train_identity(config, PROVENANCE, "other"),
        train_identity(config, PROVENANCE, "d"),
    ]
    assert len(set(others)) == 4


def test_seeds_of_sources_count_where_they_differ_from_seed_alone(config: Config) -> None:
    def identity(**keys: int | None) -> str:
        return train_identity(
            with_keys(config, {key.replace("_", "."): each for key, each in keys.items()}), PROVENANCE, "d"
        )

    plain = identity(seed=3)
    assert identity(seed=3, seeds_weights=3) == plain
    assert identity(seed=3, seeds_weights=3, seeds_order=3, seeds_augmentation=3) == plain
    others = [identity(seed=3, **{f"seeds_{source}": 0}) for source in ("weights", "order", "augmentation")]
    assert len({plain, *others, identity(seed=0)}) == 5
    assert identity(seed=3, seeds_weights=0, seeds_order=3) == identity(seed=3, seeds_weights=0)


def test_equal_seeds_of_sources_keep_the_identity_of_versions_without_them(config: Config) -> None:
    values = without(config.model_dump(mode="json"), (*RUN_ONLY, *EVALUATION_ONLY, "seeds"))
    parts = {"config": values, "evidence": {"code": "c", "versions": dict(PROVENANCE.versions)}, "data": "d"}
    assert train_identity(config, PROVENANCE, "d") == fingerprint(parts)


@pytest.mark.parametrize(("key", "value"), [("postprocess.nms_threshold", 0.1), ("ema", 0.9)])
def test_evaluation_settings_change_the_evaluation_identity(config: Config, key: str, value: float) -> None:
    settings = EvaluationSettings.of(config)
    assert evaluation_identity("t", settings) != evaluation_identity("t", with_keys(settings, {key: value}))


def test_fingerprint_ignores_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})
    assert fingerprint({"a": [1, 2]}) != fingerprint({"a": [2, 1]})


def test_without_leaves_the_original_alone() -> None:
    values = {"a": {"b": 1, "c": 2}, "d": 3}
    assert without(values, ("a.b", "d")) == {"a": {"c": 2}}
    assert values == {"a": {"b": 1, "c": 2}, "d": 3}


def test_keys_that_identities_leave_out_exist() -> None:
    known = dotted_keys(Config)
    for key in (*RUN_ONLY, *EVALUATION_ONLY):
        assert any(name == key or name.startswith(f"{key}.") for name in known), key
