"""Latency is of warm runs alone, and subjects take turns."""

import torch

from fcos.exported.latency import WARM_UP, Timed, measure_latency
from fcos.structures import Batch, Targets


def test_warm_runs_are_counted_and_described() -> None:
    none = Targets(torch.zeros(2, 8, 4), torch.zeros(2, 8, dtype=torch.long), torch.zeros(2, 8, dtype=torch.bool))
    sizes = torch.tensor([[32, 64], [32, 64]])
    batch = Batch(torch.zeros(2, 3, 32, 64, dtype=torch.uint8), sizes, sizes, none, (1, 2), ("a", "b"))
    calls: list[str] = []
    one = Timed(lambda _: calls.append("ab"), "ab" * 32, 1, "cpu", "torch 2")
    other = Timed(lambda _: calls.append("cd"), "cd" * 32, 1, "cpu", "torch 2")
    first, second = measure_latency([one, other], batch, runs=5)
    assert calls == ["ab", "cd"] * (5 + WARM_UP)
    assert 0 <= first.p50_ms <= first.p95_ms and second.sha256 == "cd" * 32
    assert "5 warm runs, batch 2 of 64x32, 1 thread, cpu, torch 2, sha256 abababababab" in first.describe()
