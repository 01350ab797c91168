"""Whatever a class is called, MLflow takes the metric's name."""

from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name

from orchestration.tracking.store import legal_name


def test_legal_metric_names_stay() -> None:
    for name in ("train/loss", "val/AP50", "val/class_AP/traffic light", "a:b-c.d", "val/class_AP/翘头剪"):
        assert legal_name(name) == name


def test_different_names_stay_different() -> None:
    classes = ("café", "cafè", "caf_", "caf+", "a/../b", "a//b", "x" * 300, "x" * 301)
    assert len({legal_name(f"val/class_AP/{name}") for name in classes}) == len(classes)


@given(st.text(max_size=400))
def test_any_name_becomes_legal(name: str) -> None:
    _validate_metric_name(legal_name(f"val/class_AP/{name}"))
