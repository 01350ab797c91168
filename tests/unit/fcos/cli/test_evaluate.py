"""python -m fcos evaluate: metrics are kept, whatever becomes of the latency."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from fcos.__main__ import main
from fcos.cli import evaluate
from fcos.errors import ConfigError
from fcos.exported import file_detector
from fcos.exported.latency import Latency

LATENCY = Latency(1.0, 2.0, 1, 1, (64, 64), 1, "cpu", "onnxruntime 1", "ab" * 32)


@pytest.mark.parametrize("fails", [True, False])
def test_metrics_are_written_before_anything_is_timed(
    fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "metrics.json"

    def time_it(*_: object) -> Latency:
        assert json.loads(output.read_text()) == {"step": 7, "metrics": {"val/AP": 0.5}}
        if fails:
            raise ConfigError("the runtime failed")
        return LATENCY

    monkeypatch.setattr(evaluate, "load_file", lambda _: SimpleNamespace(record=SimpleNamespace(step=7)))
    monkeypatch.setattr(file_detector, "evaluate_file", lambda *_, **__: {"val/AP": 0.5})
    monkeypatch.setattr(evaluate, "_latency", time_it)
    assert main(["evaluate", "a.onnx", "--latency", "1", "--output", str(output)]) == (2 if fails else 0)
    shown = capsys.readouterr()
    values = json.loads(output.read_text())
    assert "val/AP" in shown.out and values["metrics"] == {"val/AP": 0.5}
    assert ("the runtime failed" in shown.err) == fails == ("latency" not in values)
    assert fails or "latency p50 1.0 ms" in shown.out
