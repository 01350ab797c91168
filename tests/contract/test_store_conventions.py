"""The names that writer and reader share stand once, and are the names of what fcos reports and writes."""

import ast
from collections.abc import Iterator
from pathlib import Path

import mlflow.entities
import pytest

from fcos.metrics import CLASS_PREFIX, reported_metrics
from fcos.storage.run_folder import COVERAGE_MAP, COVERAGE_TABLE, DETECTIONS, EVALUATION
from fcos.storage.store_conventions import Artifact, MetricPrefix, RunKind, RunStatus, Tag
from orchestration.config.compose import compose

ROOT = Path(__file__).parents[2]
SOURCES = [path for folder in ("orchestration", "analysis") for path in (ROOT / folder).rglob("*.py")]


def values_of(names: type) -> list[str]:
    return [value for name, value in vars(names).items() if not name.startswith("_")]


def string_literals(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("names", [Tag, RunKind, RunStatus, Artifact, MetricPrefix])
def test_no_name_is_declared_twice(names: type) -> None:
    assert len(set(values_of(names))) == len(values_of(names))


def test_no_tag_is_spelled_out_elsewhere() -> None:
    tags = values_of(Tag)
    spelled = {path: [text for text in string_literals(path) if any(tag in text for tag in tags)] for path in SOURCES}
    assert {str(path.relative_to(ROOT)): texts for path, texts in spelled.items() if texts} == {}


def test_the_states_of_runs_are_those_of_mlflow_and_spelled_out_once() -> None:
    states = set(values_of(RunStatus))
    assert states == {mlflow.entities.RunStatus.to_string(state) for state in mlflow.entities.RunStatus.all_status()}
    assert [path for path in SOURCES if states & set(string_literals(path))] == []


def test_metrics_of_fcos_have_the_prefixes() -> None:
    assert CLASS_PREFIX == MetricPrefix.CLASS_AP
    training = reported_metrics(compose([]).training)
    coverage_run = reported_metrics(compose(["+experiment=table1_bpr"]).training)
    assert {f"{name.split('/')[0]}/" for name in training} == {MetricPrefix.VAL, MetricPrefix.TRAIN}
    assert {f"{name.split('/')[0]}/" for name in coverage_run} == {MetricPrefix.COVERAGE}
    assert any(name.startswith(MetricPrefix.COVERAGE_COUNT) for name in coverage_run)


def test_artifacts_have_the_names_of_the_files_that_fcos_writes() -> None:
    assert (DETECTIONS, EVALUATION) == (Artifact.DETECTIONS, Artifact.EVALUATION)
    assert f"{Artifact.COVERAGE}/{Path(COVERAGE_TABLE).name}" == Artifact.COVERAGE_COUNTS
    assert f"{Artifact.COVERAGE}/{Path(COVERAGE_MAP).name}" == Artifact.CENTER_SAMPLING_MAP
